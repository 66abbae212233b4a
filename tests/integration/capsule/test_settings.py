"""What the operator says of a pool reaches capsules that run: a row of the table in docs/pool-reference.md after the other."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from snakepit._values.payloads import PICKLE
from snakepit.errors import DeadlineExceeded, SnakepitError
from snakepit.spec import SnakePoolSpec, encode_spec
from snakepit.spec.effects import Effect, effect
from snakepit.v1 import common_pb2, link_pb2, pool_pb2, router_pb2
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS, Caller, outcome, rpc
from support.effects import CHANGES, changed
from support.eventually import eventually
from support.pool_of_one import READY, pid, ready, workers
from support.replica import Replica
from support.simulated_agent import POOL

UID = "uid-1"
BACKOFF = pool_pb2.WORKER_STATE_BACKOFF


def settings(whole: dict[str, Any], generation: int = 1, uid: str = UID) -> link_pb2.PoolSettings:
    return link_pb2.PoolSettings(pool=POOL, uid=uid, generation=generation, spec=encode_spec(msgspec.convert(whole, SnakePoolSpec)))


class Scene:
    """A pool of one capsule, which runs since before its settings were changed."""

    def __init__(self, server: Running, caller: Caller, whole: dict[str, Any]) -> None:
        self.server, self.caller, self.whole = server, caller, whole
        self.generation = 1

    def say(self, path: str, value: Any) -> None:
        """As the operator does."""
        self.whole, self.generation = changed(self.whole, path, value), self.generation + 1
        self.server.fleet.sync([settings(self.whole, self.generation)], complete=True, drain=[])

    async def worker(self) -> pool_pb2.Worker:
        return (await workers(self.caller))[0]

    async def until(self, condition: Callable[[pool_pb2.Worker], bool]) -> pool_pb2.Worker:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                for worker in await workers(self.caller):
                    if condition(worker):
                        return worker
                await asyncio.sleep(0.02)

    async def replaced(self, before: pool_pb2.Worker) -> pool_pb2.Worker:
        return await self.until(lambda each: each.incarnation != before.incarnation and each.state == READY)

    async def recycle(self, worker: pool_pb2.Worker) -> None:
        await rpc(self.caller.pools.RecycleWorker(pool_pb2.RecycleWorkerRequest(pool=POOL, worker=worker.id)))

    async def drain(self, worker: pool_pb2.Worker) -> None:
        await rpc(self.caller.pools.DrainWorker(pool_pb2.DrainWorkerRequest(pool=POOL, worker=worker.id)))


Change = Callable[[], None]


async def beats(scene: Scene, change: Change) -> None:
    (about,) = scene.server.flow.pools[POOL].capsules.values()
    change()
    heard = set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(heard) < 5:
            heard.add(about.heard)
            await asyncio.sleep(0.02)


async def silence_kills(scene: Scene, change: Change) -> None:
    before = await scene.worker()
    os.kill(before.pid, signal.SIGSTOP)
    change()
    await scene.replaced(before)


async def silence_is_noticed(scene: Scene, change: Change) -> None:
    before = await scene.worker()
    os.kill(before.pid, signal.SIGSTOP)
    change()
    await scene.until(lambda each: each.reason == "NotAnswering")


async def silence_of_the_next_worker_is_noticed(scene: Scene, change: Change) -> None:
    before = await scene.worker()
    change()
    await scene.recycle(before)
    os.kill((await scene.replaced(before)).pid, signal.SIGSTOP)
    await scene.until(lambda each: each.reason == "NotAnswering")


async def worker_is_recycled(scene: Scene, change: Change) -> None:
    before = await scene.worker()
    await pid(scene.caller)
    change()
    await scene.replaced(before)


async def some_worker_is_recycled(scene: Scene, change: Change) -> None:
    before = {each.incarnation for each in await workers(scene.caller)}
    change()
    await scene.until(lambda each: each.incarnation not in before)


async def one_more_end_is_too_many(scene: Scene, change: Change) -> None:
    for _ in range(2):
        before = await scene.worker()
        os.kill(before.pid, signal.SIGKILL)
        before = await scene.replaced(before)
    change()
    for _ in range(5):  # The first of these ends may be sooner there than the change.
        os.kill(before.pid, signal.SIGKILL)
        old = before.incarnation
        before = await scene.until(lambda each, old=old: each.state == BACKOFF or (each.incarnation != old and each.state == READY))  # type: ignore[misc]
        if before.state == BACKOFF:
            return
    pytest.fail("as many ends as one likes are taken")


async def what_runs_is_told_to_stop(scene: Scene, change: Change) -> None:
    before = await scene.worker()
    call = scene.caller.start("hold", {"seconds": 600})
    await scene.until(lambda each: each.running == 1)
    change()
    await scene.drain(before)
    await scene.replaced(before)
    assert isinstance(await outcome(call), SnakepitError)


async def what_clings_is_killed(scene: Scene, change: Change) -> None:
    before = await scene.worker()
    call = scene.caller.start("cling")
    await scene.until(lambda each: each.running == 1)
    change()
    call.cancel()
    await scene.replaced(before)


async def a_session_keeps_its_worker(scene: Scene, change: Change) -> None:
    await scene.caller.create("s")
    before = await scene.worker()
    assert await pid(scene.caller, session_id="s") == before.pid
    change()
    assert await pid(scene.caller, session_id="s") == before.pid
    await scene.recycle(before)
    fresh = await scene.replaced(before)
    assert await pid(scene.caller) == fresh.pid
    assert await pid(scene.caller, session_id="s") == before.pid


async def pickled(caller: Caller) -> router_pb2.ExecuteResponse:
    payload = common_pb2.Payload(content_type=PICKLE, data=pickle.dumps({"seconds": 0.0}))
    return await rpc(caller.router.Execute(router_pb2.ExecuteRequest(pool=POOL, tool="pid", payload=payload), timeout=PATIENCE_SECONDS))


async def pickle_is_taken(scene: Scene, change: Change) -> None:
    with pytest.raises(SnakepitError, match=r"call\.payloads"):
        await pickled(scene.caller)
    change()
    await eventually(lambda: _works(scene.caller), "the worker takes it")


async def _works(caller: Caller) -> bool:
    try:
        await pickled(caller)
    except SnakepitError:
        return False
    return True


async def a_stream_that_says_nothing_is_ended(scene: Scene, change: Change) -> None:
    change()
    with pytest.raises(DeadlineExceeded, match=r"call\.streamIdleSeconds"):
        await rpc(_all(scene.caller.stream("trickle", {})))


async def _all(stream: Any) -> list[Any]:
    return [each async for each in stream]


HOARDER, STUBBORN, WAITING = "support.hoarder:Hoarder", "support.stubborn:Stubborn", "support.waiting:Waiting"
PATIENT = {"intervalSeconds": 0.1, "missThreshold": 100, "timeoutSeconds": 60}
Play = Callable[[Scene, Change], Awaitable[None]]
SCENES: dict[str, tuple[str, dict[str, Any], Any, Play]] = {
    "heartbeat.intervalSeconds": (HOARDER, {"heartbeat": {"intervalSeconds": 60, "timeoutSeconds": 300}}, 0.1, beats),
    "heartbeat.timeoutSeconds": (HOARDER, {"heartbeat": {**PATIENT, "missThreshold": 3}}, 0.8, silence_kills),
    "heartbeat.missThreshold": (HOARDER, {"heartbeat": PATIENT}, 3, silence_is_noticed),
    "heartbeat.initialDelaySeconds": (
        HOARDER,
        {"heartbeat": {**PATIENT, "missThreshold": 3, "initialDelaySeconds": 600}},
        0.01,
        silence_of_the_next_worker_is_noticed,
    ),
    "recycle.maxAgeSeconds": (HOARDER, {}, 0.1, worker_is_recycled),
    "recycle.maxCalls": (HOARDER, {}, 1, worker_is_recycled),
    "recycle.maxMemory": (HOARDER, {}, "1Ki", worker_is_recycled),
    "recycle.jitterPercent": (
        HOARDER,
        {"worker": {"processes": 12}, "recycle": {"maxAgeSeconds": 40, "jitterPercent": 0}},
        100,
        some_worker_is_recycled,
    ),
    "restart.maxRestarts": (HOARDER, {"restart": {"maxRestarts": 100, "windowSeconds": 600}}, 2, one_more_end_is_too_many),
    "restart.windowSeconds": (HOARDER, {"restart": {"maxRestarts": 2, "windowSeconds": 1e-6}}, 600, one_more_end_is_too_many),
    "drain.timeoutSeconds": (STUBBORN, {"drain": {"timeoutSeconds": 600}}, 0.1, what_runs_is_told_to_stop),
    "drain.killAfterSeconds": (STUBBORN, {"drain": {"killAfterSeconds": 600}}, 0.1, what_clings_is_killed),
    "affinity": (HOARDER, {}, "strict_queue", a_session_keeps_its_worker),
    "call.payloads": (HOARDER, {}, ["json", "pickle"], pickle_is_taken),
    "call.streamIdleSeconds": (WAITING, {}, 0.3, a_stream_that_says_nothing_is_ended),
}
"""Of each field: an adapter, the settings before, the value after, and what is different then. Before, none of it would happen."""


def test_every_row_of_the_table_has_its_scene() -> None:
    assert set(SCENES) == {path for path in CHANGES if effect(path) is Effect.CAPSULES}


@pytest.mark.parametrize("path", SCENES)
async def test_a_change_reaches_a_capsule_that_runs(path: str, server: Running, caller: Caller) -> None:
    adapter, sections, value, play = SCENES[path]
    whole = {**sections, "worker": {"adapter": adapter, **sections.get("worker", {})}}
    server.fleet.sync([settings(whole)], complete=True, drain=[])
    async with capsule(spec(adapter, **sections), server, pool=POOL, pool_uid=UID, pool_generation=1) as local:
        scene = Scene(server, caller, whole)
        await ready(caller, msgspec.convert(whole, SnakePoolSpec).worker.slots)
        await play(scene, lambda: scene.say(path, value))
        assert local.keeper is not None
        assert local.keeper.returncode is None, "it is the container of before"


# ---- whose word counts

RARE, OFTEN = {"heartbeat": {"intervalSeconds": 60, "timeoutSeconds": 300}}, {"heartbeat": {"intervalSeconds": 0.1}}
SAMPLE = {"worker": {"adapter": "support.sample:Sample"}}


async def test_a_capsule_that_links_is_told_what_the_operator_has_said_meanwhile(server: Running, caller: Caller) -> None:
    server.fleet.sync([settings({**SAMPLE, **OFTEN}, 2)], complete=True, drain=[])
    async with capsule(spec("support.sample:Sample", **RARE), server, pool=POOL, pool_uid=UID, pool_generation=1):
        await ready(caller, 1)
        await beats(Scene(server, caller, SAMPLE), lambda: None)


async def test_an_agent_goes_by_what_it_can_read_of_its_own_pool_and_tells_it_to_replicas_that_know_nothing(
    control: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    told = settings({"worker": {"adapter": "not.mine:C"}, **OFTEN}, 2)
    async with capsule(spec("support.sample:Sample", **RARE), control, pool=POOL, pool_uid=UID, pool_generation=1):
        (worker,) = await control.ready()
        for wrong in (settings(told_to(SAMPLE), 7, uid="another"), link_pb2.PoolSettings(pool=POOL, uid=UID, generation=8, spec="{}")):
            control.send(link_pb2.Frame(settings=wrong))
        control.send(link_pb2.Frame(settings=told))
        before = len(control.heard("report"))
        await control.until(lambda: len(control.heard("report")) > before + 5, "it beats often")
        assert "settings of generation 8 are passed over" in caplog.text
        assert await control.value(control.call(worker, "echo", {"value": 1})) == 1, "it is the worker of before"
        port = control.port
        await control.stop()
        await control.start(port)
        await control.until(lambda: len(control.hellos) == 2, "it links anew")
        assert control.hellos[1].capsule.settings == told


def told_to(whole: dict[str, Any]) -> dict[str, Any]:
    return {**whole, "heartbeat": {"intervalSeconds": 30, "timeoutSeconds": 300}}
