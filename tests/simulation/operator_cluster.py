"""The cluster of the operator's simulation: what there is, who is told of changes, and the operators' processes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, cast

from simulation import operator_rules as rules
from simulation.operator_api import EPOCH, NAMESPACE, Client, Server, Weather, pool_of
from simulation.operator_nodes import Nodes
from simulation.operator_plane import Plane
from simulation.operator_rules import Rules

from snakepit_operator.kube import PODS, POOLS, Kube, Object
from snakepit_operator.main import Operator
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings

NAMES = ("digits", "letters")


class Process:
    """One life of an operator's program."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.wake: Callable[[str], None] | None = None
        self.skew = 0.0

    @property
    def lives(self) -> bool:
        return self.task is not None and not self.task.done() and not self.client.dead


CURRENT: ContextVar[Process] = ContextVar("CURRENT")


class Cluster:
    """Everything that one seed determines."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.trace: list[str] = []
        self.weather = Weather()
        self.server = Server(self.now)
        self.plane = Plane(chance, chance.choice([1, 2, 2, 3]))
        self.nodes = Nodes(self.server, chance, self.plane, chance.choice([2, 3, 5]))
        self.rules = Rules(self.server, self.plane, self.note)
        self.server.on_change = self.changed
        self.plane.on_told = self.rules.told
        self.plane.on_drain = self.nodes.drain
        self.processes: list[Process] = []
        self.born = 0
        self.calm = False
        self.tasks: set[asyncio.Task[Any]] = set()

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def note(self, what: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():9.3f} {what}")

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def later(self, seconds: float, act: Callable[..., object], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(seconds, act, *arguments)

    # ---- what the API server tells

    def changed(self, kind: str, found: Object) -> None:
        if kind == PODS.plural:
            if owner := rules.owner(found):
                if rules.uid(found) not in self.nodes.lives:
                    self.collect(owner)
                self.nodes.changed(found)
        elif kind == POOLS.plural and self.server.pools().get(found["metadata"]["name"]) is not found:
            self.collect(found["metadata"]["uid"])
        if name := pool_of(kind, found):
            if kind == PODS.plural:
                self.rules.changed(name.partition("/")[2])
            for process in self.processes:
                self._tell(process, name)

    def _tell(self, process: Process, name: str) -> None:
        """Once, or never, or twice; sooner or later."""
        if process.wake is None:
            return
        chance = self.chance
        times = 1 if self.calm else chance.choice([1, 1, 1, 1, 1, 1, 0, 2])
        for _ in range(times):
            self.later(0.01 if self.calm or chance.random() < 0.7 else chance.random() * 8, self._wake, process, name)

    @staticmethod
    def _wake(process: Process, name: str) -> None:
        if process.wake is not None:
            process.wake(name)

    def collect(self, gone: str) -> None:
        """The garbage collector, some time after an owner has gone, or a pod has been made that has none any more."""
        if any(each["metadata"]["uid"] == gone for each in self.server.pools().values()):
            return

        def due() -> None:
            for name, each in list(self.server.pods().items()):
                if rules.owner(each) == gone:
                    self.spawn(self.server.delete(PODS, NAMESPACE, name))

        for after in (2.0, 30.0, 120.0):
            self.later(after * (1 if self.calm else self.chance.random()), due)

    # ---- operators

    def start(self) -> Process:
        self.born += 1
        client = Client(f"operator-{self.born}", self.server, self.chance, self.weather, self.rules)
        process = Process(client)
        process.skew = self.chance.choice([0.0, 0.0, 0.0, -2.0, 2.0, 20.0])
        client.listens = lambda: self.plane.heard(client)
        client.lost = lambda: self.plane.lost(client)
        client.draining = lambda: self.plane.draining(client)
        client.unheard = lambda: self.plane.unheard(client)
        client.demanded = lambda: self.plane.wanted(client)
        client.on_crash = lambda: self.crash(process)
        settings = Settings(
            namespace="snakepit-system",
            identity=client.name,
            agent=AgentImage(image="agent:1", control_plane="plane:7800"),
            watch_namespaces=(NAMESPACE,),
        )

        async def life() -> None:
            CURRENT.set(process)
            await Operator(cast(Kube, client), settings).run(process.stop)

        self.note(f"start {client.name}")
        process.task = asyncio.get_running_loop().create_task(life(), name=client.name)
        process.task.add_done_callback(self._ended)
        self.processes.append(process)
        return process

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.rules.problems.append(f"{task.get_name()} ended: {error!r}")

    def crash(self, process: Process) -> None:
        """At once: whatever it does from now on reaches nobody."""
        if not process.lives:
            return
        self.note(f"{process.client.name} crashes")
        process.client.dead = True
        process.wake = None
        for call in self.plane.talks(process.client):
            call.end()
        assert process.task is not None
        process.task.cancel()
        self.processes.remove(process)
        self.later(self.chance.random() * self.chance.choice([0.5, 20.0]), self._replace)

    def _replace(self) -> None:
        if not any(each.lives and not each.client.usurps for each in self.processes):
            self.start()

    def running(self) -> list[Process]:
        return [each for each in self.processes if each.lives]

    # ---- time

    async def elapse(self, seconds: float) -> None:
        """Time; as soon as something is wrong, no more of it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.rules.broken.wait()
        self.check()

    def check(self) -> None:
        assert not self.rules.problems, "; ".join(self.rules.problems)
