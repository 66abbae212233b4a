"""Operators as a whole but for kopf and the API server, on a virtual clock: they lead in turns, while pods die, requests fail and
watches tell late or never. In no moment are there more pods than wanted, and in the end there are as many.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, cast

import pytest

from snakepit_operator.controller import Controller
from snakepit_operator.fleet import Fleet, IsShort, OnChange
from snakepit_operator.kube import PODS, POOLS, Kube, KubeError
from snakepit_operator.leases import Election
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings
from support.pretend_api import UNTIL_NOW, PretendApi
from support.virtual_time import run

POOL = {
    "metadata": {"name": "digits", "namespace": "default", "uid": "p", "generation": 1},
    "spec": {"replicas": 1, "image": "i", "worker": {"adapter": "digits.tools:Digits"}},
}
NOES = [(409, "Conflict"), (410, "Expired"), (429, "TooManyRequests"), (500, "InternalError"), (504, "Timeout"), (0, "Unreachable")]
STEPS = 40
SETTLE_SECONDS = 240.0
SEEDS = 20


class Slow:
    """The API server as one operator reaches it: some requests fail, and half of those have been carried out."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        ask = getattr(self._world.api, name)

        async def asked(*arguments: Any, **options: Any) -> Any:
            world, chance = self._world, self._world.chance
            await asyncio.sleep(chance.random() * 0.2)
            fails = world.faulty and chance.random() < 0.15
            error = KubeError(*chance.choice(NOES), "not now")
            if fails and chance.random() < 0.5:
                raise error
            answer = await ask(*arguments, **options)
            world.check()
            if fails:
                raise error
            return answer

        return asked


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.api = PretendApi(POOL)
        self.faulty = True
        self.most = 1
        self.problems: list[str] = []
        self.wakes: dict[object, Callable[[str], None]] = {}
        self.operators: list[asyncio.Task[None]] = []

    def now(self) -> float:
        return datetime.fromisoformat(UNTIL_NOW).timestamp() + asyncio.get_running_loop().time()

    def check(self) -> None:
        pods = self.api.of(PODS.plural)
        alive = [name for name, pod in pods.items() if (pod.get("status") or {}).get("phase") != "Failed"]
        if len(alive) > self.most:
            self.problems.append(f"{alive} where {self.most} are wanted")  # Raised here, it would be one more failed request.

    async def watching(self, namespaces: object, on_wake: Callable[[str], None], until_listed: Callable[[], Awaitable[None]]) -> None:
        """Each life of a watch is a short one."""
        key = object()
        try:
            while True:
                await until_listed()
                self.wakes[key] = on_wake
                await asyncio.sleep(self.chance.random() * 60)
                del self.wakes[key]
        finally:
            self.wakes.pop(key, None)

    def happened(self) -> None:
        for wake in self.wakes.values():
            if self.chance.random() < 0.7:
                asyncio.get_running_loop().call_later(self.chance.random() * 3, wake, "default/digits")

    async def operate(self, identity: str) -> None:
        """As `main` does."""
        kube = cast(Kube, Slow(self))
        settings = Settings(namespace="system", identity=identity, agent=AgentImage(image="agent:1"))
        election = Election(kube, settings.namespace, settings.lease_name, identity)
        electing = asyncio.create_task(election.run())
        try:
            while True:
                await election.leading.wait()
                leader = Controller(kube, settings, fleet=self.fleet, watching=self.watching, now=self.now)
                reign = asyncio.create_task(leader.run())
                try:
                    lost = asyncio.create_task(election.lost.wait())
                    await asyncio.wait([lost, reign], return_when=asyncio.FIRST_COMPLETED)
                    assert not reign.done(), reign
                finally:
                    lost.cancel()
                    reign.cancel()
                    await asyncio.gather(reign, return_exceptions=True)
        finally:
            electing.cancel()

    def fleet(self, on_change: OnChange, is_short: IsShort) -> Fleet:
        """Of a control plane that nobody finds: calls may run anywhere, so nothing that serves is taken away."""

        async def nobody(target: str) -> set[str]:
            return set()

        return Fleet("", on_change, is_short=is_short, look_up=nobody)

    def start(self) -> None:
        self.operators.append(asyncio.create_task(self.operate(f"operator-{self.chance.random()}")))

    async def kill(self) -> None:
        victim = self.operators.pop(self.chance.randrange(len(self.operators)))
        assert not victim.done(), victim
        victim.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await victim

    def kubelet(self) -> None:
        """Something befalls each pod, or nothing."""
        pods = self.api.of(PODS.plural)
        for name in list(pods):
            match self.chance.choice(["ready", "ready", "failed", "gone", "nothing"]) if self.faulty else "ready":
                case "ready" if (pods[name].get("status") or {}).get("phase") != "Failed":
                    pods[name]["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                case "failed":
                    pods[name]["status"] = {"phase": "Failed", "reason": "Evicted"}
                case "gone":
                    del pods[name]

    async def step(self) -> None:
        match self.chance.choice(["kubelet", "kubelet", "scale", "kill"]):
            case "kubelet":
                self.kubelet()
                self.happened()
            case "scale":
                pool = self.api.of(POOLS.plural)["digits"]
                replicas = min(9, pool["spec"]["replicas"] + 1)
                self.most = replicas
                await self.api.merge(POOLS, "default", "digits", {"spec": {"replicas": replicas}})
                self.happened()
            case "kill":
                await self.kill()
                self.start()
        await asyncio.sleep(self.chance.random() * self.chance.choice([0.1, 5.0, 20.0]))

    async def play(self) -> None:
        for _ in range(2):
            self.start()
        for _ in range(STEPS):
            await self.step()
        self.api.of(PODS.plural).clear()
        self.faulty = False  # And nobody tells of anything any more.
        for _ in range(int(SETTLE_SECONDS / 10)):
            await asyncio.sleep(10)
            self.kubelet()
        assert self.problems == []
        pods = self.api.of(PODS.plural)
        assert len(pods) == self.most, f"{len(pods)} pods, and {self.most} are wanted"
        status = self.api.of(POOLS.plural)["digits"]["status"]
        assert (status["replicas"], status["desiredReplicas"]) == (self.most, self.most)
        while self.operators:
            await self.kill()


@pytest.mark.parametrize("seed", [*range(SEEDS), random.randrange(2**32)])
def test_whatever_befalls_operators_and_pods_there_are_never_too_many_and_in_the_end_as_many_as_wanted(seed: int) -> None:
    async def program() -> None:
        random.seed(seed)
        await World(seed).play()

    run(program())
