"""What keeps a pool's pods from coming, kind by kind, in the middle of a roll-out: what is said of it, what goes on, and how it ends.

API server, operator, control plane and calls are real. Scheduler, kubelets and agents say what they say of each kind (`support.stuck`); the
cluster's clock is the test's own, so that ten minutes of it take a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from snakepit import Client
from snakepit.v1 import pool_pb2
from snakepit_control_plane.server import Running
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import PODS, Kube, Object, Resource, Told
from snakepit_operator.model import HANGS_SECONDS, Creation
from snakepit_operator.pods import AgentImage, pod, pool_settings
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from snakepit_operator.views import pool_view
from support import stuck
from support.admin import Admin, Refused
from support.api_server import SYSTEM
from support.control_plane import replica
from support.documents import section
from support.eventually import eventually
from support.gate import Gate
from support.simulated_agent import SimulatedAgent
from support.stuck import REPLICAS, ROWS, Row, Said
from support.tasks import task

SURGE = 1
TROUBLE_SECONDS = 600.0
LOOK_SECONDS = 300.0
"""Where the operator doesn't say when it wants to look again, somebody wakes it after so long."""
DEADLINE_SECONDS = 20


def documented() -> dict[str, list[str]]:
    """By kind, what docs/observe.md says of it: the reason, the sentence (… is anything) and what to do."""
    lines = [line for line in section("observe.md", "Pods that don't get on").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:] if not line.startswith("|-")]
    return {kind: rest for kind, *rest in cells}


def test_every_kind_is_documented_with_its_reason() -> None:
    assert [(kind, rest[0]) for kind, rest in documented().items()] == [(row.kind, row.reason) for row in ROWS]


# ---- the world


class Later(Kube):
    """The API server of a cluster whose clock is the test's. `attempts`: when a pod was asked for."""

    now = 0.0

    def __init__(self, client: Any, tell: Told = lambda *_: None) -> None:
        super().__init__(client, tell)
        self.born: dict[str, float] = {}
        self.attempts: list[float] = []

    async def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        if resource is not PODS:
            return await super().create(resource, namespace, body)
        self.attempts.append(self.now)
        made = await super().create(resource, namespace, body)
        self.born[made["metadata"]["uid"]] = self.now
        return made

    async def list(self, resource: Resource, namespace: str | None, selector: str = "", fields: str = "") -> list[Object]:
        found = await super().list(resource, namespace, selector, fields)
        for each in found:
            if (born := self.born.get(each["metadata"]["uid"])) is not None:
                each["metadata"]["creationTimestamp"] = stuck.stamp(born)
        return found


class Stage:
    """A pool of three capsules that serve, in a cluster in which everything goes well until `row` is `so`."""

    def __init__(self, admin: Admin, kube: Later, server: Running, client: Client, row: Row) -> None:
        self.admin, self.kube, self.server, self.row = admin, kube, server, row
        self.name = f"{admin.namespace}/digits"
        self.image = AgentImage(image="agent:1", control_plane=server.address)
        settings = Settings(namespace=SYSTEM, identity="me", agent=self.image, watch_namespaces=(admin.namespace,))
        self.fleet = Fleet(server.address, lambda pool, essential: None)
        self.reconciler = Reconciler(kube, settings, self.fleet)
        self.pool = client.pool(self.name)
        self.agents: dict[str, SimulatedAgent] = {}
        self.old: set[str] = set()
        self.so = False
        self.turn = 0
        self.pause = 0.0

    async def begin(self) -> None:
        await self.admin.make_pool(replicas=REPLICAS, rollout={"maxSurge": SURGE, "progressDeadlineSeconds": DEADLINE_SECONDS})
        self.reconciler.listed({self.name: await self.admin.pool()}, {}, self.reconciler.seen())
        await self.step()
        await self.step()
        self.old = {each["metadata"]["uid"] for each in await self.active()}
        assert len(self.old) == REPLICAS

    async def active(self) -> list[Object]:
        return [each for each in await self.admin.every("pods") if "deletionTimestamp" not in each["metadata"]]

    async def step(self) -> None:
        """The nodes do what they do, and the operator is woken by that; then time passes until it wants to look again."""
        await self.nodes()
        again = await self.reconciler.reconcile(self.name, self.kube.now)
        assert len(await self.active()) <= REPLICAS + SURGE
        self.pause = LOOK_SECONDS if again is None else again

    async def nodes(self) -> None:
        for each in await self.admin.every("pods"):
            name, uid = each["metadata"]["name"], each["metadata"]["uid"]
            if "deletionTimestamp" in each["metadata"]:
                if (agent := self.agents.pop(uid, None)) is not None:
                    agent.draining, agent.lives = True, {}
                    agent.report()
                    await agent.stop()
                await self.admin.delete("pods", name, gracePeriodSeconds=0)
            elif self.so and uid not in self.old:
                await self._fails(each)
            else:
                await self._says(each, stuck.well(self.kube.born[uid]))
                await self._agent_says(each, pool_pb2.WORKER_STATE_READY, "", "")
        self.turn += 1

    async def _fails(self, pod: Object) -> None:
        at = self.kube.born[pod["metadata"]["uid"]]
        if self.row.pod is not None:
            await self._says(pod, self.row.pod(at, self.turn))
        elif self.row.worker:
            await self._says(pod, stuck.not_warm(at))
            await self._agent_says(pod, pool_pb2.WORKER_STATE_STARTING, self.row.reason, self.row.worker)
            await eventually(lambda: self._hears(pod["metadata"]["name"]), "the operator has heard of the fault")

    async def _hears(self, name: str) -> bool:
        view = self.fleet.view(self.name)
        return view is not None and name in view.capsules and view.capsules[name].failure is not None

    async def _says(self, pod: Object, said: Said) -> None:
        metadata = pod["metadata"]
        if "startTime" in said.status and not pod["spec"].get("nodeName"):
            await self.admin.bind(metadata["name"])
        await self.admin.say(metadata["name"], **said.status)
        if said.failed_mount:
            about = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "namespace": self.admin.namespace, "uid": metadata["uid"]}
            body = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{metadata['name']}.{self.turn}"}, "involvedObject": about}
            told = {"type": "Warning", "reason": "FailedMount", "message": said.failed_mount, "lastTimestamp": stuck.stamp(self.kube.now)}
            await self.admin.ask("POST", self.admin.path("events"), {**body, **told})

    async def _agent_says(self, pod: Object, state: int, reason: str, message: str) -> None:
        metadata = pod["metadata"]
        agent = self.agents.get(metadata["uid"])
        if agent is None:
            settings = pool_settings(pool_view(await self.admin.pool()))
            agent = SimulatedAgent(
                self.server.address, name=metadata["name"], pod_uid=metadata["uid"], pool=self.name, settings=settings, slots=4
            )
            agent.state, agent.reason, agent.message = state, reason, message  # type: ignore[assignment]
            self.agents[metadata["uid"]] = await agent.start()
        elif (agent.state, agent.reason) != (state, reason):
            agent.state, agent.reason, agent.message = state, reason, message  # type: ignore[assignment]
            agent.report()

    async def refuses(self) -> bool:
        """Admission learns of its rules by watches: does it know this one by now?"""
        pool = pool_view(await self.admin.pool())
        try:
            await self.admin.ask("POST", self.admin.path("pods") + "?dryRun=All", pod(pool, Creation("probe", 9, "t"), self.image))
        except Refused as error:
            return error.status in (403, 422, 500)
        return False

    # ---- what must be so

    async def serves_on(self) -> None:
        kept = {each["metadata"]["uid"] for each in await self.active()}
        assert kept >= self.old, "one of the old ones was given up"
        assert await self.pool.call("echo", {"n": 1}, timeout=10) == {"n": 1}
        status = (await self.admin.pool())["status"]
        assert next(each["status"] for each in status["conditions"] if each["type"] == "Available") == "True"

    async def says_why(self, sentence: re.Pattern[str]) -> None:
        status = (await self.admin.pool())["status"]
        (degraded,) = [each for each in status["conditions"] if each["type"] == "Degraded"]
        assert (status["reason"], degraded["status"], degraded["reason"]) == (self.row.reason, "True", self.row.reason), status
        assert sentence.fullmatch(degraded["message"]), degraded["message"]

    async def announced(self, sentence: re.Pattern[str]) -> None:
        """Once for each pod that was made, and nothing as done that was not."""
        events = [each for each in await self.admin.every("events") if each["involvedObject"]["kind"] == "SnakePool"]
        told = [each for each in events if each["reason"] == self.row.reason and sentence.search(each["message"])]
        assert told
        assert {each["type"] for each in told} == {"Warning"}
        made = len(self.kube.born) - REPLICAS
        assert sum(each["count"] for each in told) <= max(1, made), told
        created = {
            name for each in events if each["reason"] == "CapsulesCreated" for name in re.findall(r"digits-\d+-\w+", each["message"])
        }
        assert len(created) == len(self.kube.born)

    async def has_rolled_out(self) -> bool:
        pods = await self.active()
        status = (await self.admin.pool())["status"]
        is_whole = (status["replicas"], status["updatedReplicas"], status["readyReplicas"]) == (REPLICAS,) * 3
        return is_whole and self.old.isdisjoint(each["metadata"]["uid"] for each in pods) and status["reason"] == "Ready"


@pytest.fixture
async def kube(door: Gate) -> AsyncIterator[Later]:
    connected = await Later.connect()
    assert isinstance(connected, Later)
    connected.now = float(int(time.time()))
    try:
        yield connected
    finally:
        await connected.close()
        await asyncio.sleep(0)


@pytest.fixture
async def stage(admin: Admin, kube: Later, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with replica(told=False) as server, Client(server.address) as client:
        made = Stage(admin, kube, server, client, request.param)
        async with task(made.fleet.run()):
            await made.begin()
            yield made
        for agent in made.agents.values():
            await agent.stop()


@pytest.mark.parametrize("stage", ROWS, ids=lambda row: row.kind, indirect=True)
async def test_a_roll_out_that_gets_stuck_says_why_tries_ever_less_often_and_ends_by_itself_while_the_old_serve(
    stage: Stage, tmp_path: Path
) -> None:
    row, kube, admin = stage.row, stage.kube, stage.admin
    said = documented()[row.kind][1].strip("`")
    sentence = re.compile(".*".join(map(re.escape, said.split("…"))), re.DOTALL)
    async with row.cause(admin, tmp_path) if row.cause is not None else contextlib.nullcontext():
        stage.so = True
        await admin.edit(**row.edit)
        if row.cause is not None:
            await eventually(stage.refuses, "admission refuses pods")
        began, first = kube.now, len(kube.attempts)
        while kube.now < began + TROUBLE_SECONDS:
            await stage.step()
            await stage.step()  # its status has changed, and that wakes it
            await stage.serves_on()
            newest = max((at for at in kube.born.values() if at >= began), default=began)
            if kube.now >= newest + HANGS_SECONDS or row.cause is not None:
                await stage.says_why(sentence)
            kube.now += stage.pause
        attempts = kube.attempts[first:]
        gaps = [later - sooner for sooner, later in itertools.pairwise(attempts)]
        assert gaps == sorted(gaps), "each pause is as long as the one before, or longer"
        # A worker is started again by its agent, in the same pod.
        assert (row.worker and not gaps) or gaps[-1] >= 8 * gaps[0] > 0, gaps
        await stage.announced(sentence)
    stage.so = False
    if row.mend is not None:
        await admin.edit(**row.mend)
    for _ in range(40):
        await stage.step()
        if await stage.has_rolled_out():
            break
        kube.now += min(stage.pause, LOOK_SECONDS)
    assert await stage.has_rolled_out(), (await admin.pool())["status"]
