"""Workers that are replaced while they are well: successor first, no call lost, sessions told, and the reason counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from snakepit.errors import SessionWorkerUnavailable
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_agent.model import slots
from snakepit_agent.model.recycling import Why
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS, Caller
from support.pool_of_one import pid, ready, recycled, workers
from support.replica import Replica
from support.simulated_agent import POOL

ADAPTER = "support.hoarder:Hoarder"
READY, DRAINING = pool_pb2.WORKER_STATE_READY, pool_pb2.WORKER_STATE_DRAINING


def recycle(control: Replica, worker: pool_pb2.Worker) -> None:
    control.send(link_pb2.Frame(drain=link_pb2.Drain(worker=worker.id, incarnation=worker.incarnation, recycle=True)))


async def succeeded(control: Replica, worker: pool_pb2.Worker) -> pool_pb2.Worker:
    """The process that has taken the worker's place."""

    def found() -> list[pool_pb2.Worker]:
        return [w for w in control.workers() if w.id == worker.id and w.incarnation != worker.incarnation and w.state == READY]

    return (await control.until(found, f"a successor of {worker.id}"))[0]


async def gone(control: Replica) -> link_pb2.Report:
    """The report after which nobody is leaving."""
    await control.until(lambda: not control.heard("report")[-1].leaving, "nobody leaves any more")
    return control.heard("report")[-1]


def always_ready(control: Replica) -> bool:
    """Has each report, from the first good one on, had every worker ready?"""
    reports = [report.workers for report in control.heard("report")]
    first = next(i for i, workers in enumerate(reports) if all(w.state == READY for w in workers))
    return all(worker.state == READY for workers in reports[first:] for worker in workers)


async def test_a_worker_recycled_by_hand_has_a_ready_successor_and_finishes_its_call(control: Replica, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with capsule(spec(ADAPTER, worker={"processes": 2}), control):
        worker, other = await control.ready(2)
        id_ = control.call(worker, "wait", {"gate": str(gate)})
        await control.begun(id_)
        recycle(control, worker)
        successor = await succeeded(control, worker)
        (leaving,) = control.heard("report")[-1].leaving
        assert (leaving.incarnation, leaving.state, leaving.running, leaving.pid) == (worker.incarnation, DRAINING, 1, worker.pid)
        assert await control.value(control.call(successor, "pid")) == successor.pid
        assert (await control.rejected(control.call(worker, "pid"))).reason == "WORKER_GONE"
        gate.touch()
        assert await control.value(id_) == worker.pid
        assert (await gone(control)).recycled == {"asked": 1}
        assert always_ready(control)
        assert other.incarnation in {w.incarnation for w in control.workers()}


async def test_a_threaded_worker_finishes_all_of_its_calls_beside_its_successor(control: Replica, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with capsule(spec("support.hoarder:Shared", worker={"profile": "thread", "threads": 3}), control):
        (worker,) = await control.ready()
        running = [control.call(worker, "wait", {"gate": str(gate)}) for _ in range(3)]
        for id_ in running:
            await control.begun(id_)
        recycle(control, worker)
        successor = await succeeded(control, worker)
        (leaving,) = control.heard("report")[-1].leaving
        assert (leaving.incarnation, leaving.running) == (worker.incarnation, 3)
        assert await control.value(control.call(successor, "pid")) == successor.pid
        gate.touch()
        assert [await control.value(id_) for id_ in running] == [worker.pid] * 3
        assert (await gone(control)).recycled == {"asked": 1}
        assert always_ready(control)


async def test_a_worker_that_outgrows_its_memory_is_recycled_even_while_its_interpreter_is_held(control: Replica) -> None:
    async with capsule(spec(ADAPTER, recycle={"maxMemory": "64Mi", "jitterPercent": 0}), control):
        (worker,) = await control.ready()
        await control.value(control.call(worker, "pid"))
        id_ = control.call(worker, "spin_in_c", {"mebibytes": 80})
        await control.begun(id_)
        await succeeded(control, worker)
        (leaving,) = control.heard("report")[-1].leaving
        assert leaving.own_bytes >= 64 << 20
        assert leaving.rss_bytes >= leaving.own_bytes
        assert await control.value(id_) == worker.pid
        assert (await gone(control)).recycled == {"memory": 1}
        assert always_ready(control)


@pytest.mark.parametrize(("limits", "reason"), [({"maxCalls": 40}, "calls"), ({"maxAgeSeconds": 0.5}, "age")], ids=["calls", "age"])
async def test_calls_and_age_recycle_again_and_again_under_load_and_no_call_is_lost(
    server: Running, caller: Caller, limits: dict[str, float], reason: str
) -> None:
    async with capsule(spec(ADAPTER, worker={"processes": 3}, recycle={**limits, "jitterPercent": 50}), server, pool=POOL):
        await ready(caller, 3)
        pids: set[int] = set()

        async def call_on() -> None:
            while len(pids) < 10:
                pids.add(await pid(caller, seconds=0.002))

        async with asyncio.timeout(40):
            await asyncio.gather(*(call_on() for _ in range(6)))
        assert {each for each in Why if recycled(server, each)} == {reason}


async def test_a_hint_session_moves_and_a_strict_one_keeps_the_old_worker_while_it_is_in_use(
    server: Running, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "STRICT_IDLE_SECONDS", 60.0)
    async with capsule(spec(ADAPTER), server, pool=POOL):
        (worker,) = await ready(caller, 1)
        await caller.create("hint")
        await caller.create("strict")
        strict = {"session_id": "strict", "affinity": common_pb2.AFFINITY_STRICT_QUEUE}
        assert await pid(caller, **strict) == await pid(caller, session_id="hint") == worker.pid
        await caller.pools.RecycleWorker(pool_pb2.RecycleWorkerRequest(pool=POOL, worker=worker.id))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await ready(caller, 1))[0].incarnation == worker.incarnation:
                assert await pid(caller, **strict) == worker.pid
        for _ in range(20):
            assert await pid(caller, **strict) == worker.pid
            assert await pid(caller, session_id="hint") != worker.pid
        monkeypatch.setattr(slots, "STRICT_IDLE_SECONDS", 0.0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(await workers(caller)) > 1:
                await asyncio.sleep(0.02)
        with pytest.raises(SessionWorkerUnavailable, match="recycled") as failure:
            await pid(caller, **strict)
        assert failure.value.details["why"] == "recycled"
        await caller.rebind("strict")
        assert await pid(caller, **strict) == (await ready(caller, 1))[0].pid
        assert recycled(server, "asked") == 1


async def test_a_successor_that_can_t_start_is_named_at_the_worker_that_goes_on(server: Running, caller: Caller, tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    async with capsule(spec(ADAPTER), server, pool=POOL, keeper=False) as local:
        await local.start_keeper(SHUT=str(shut))
        (worker,) = await ready(caller, 1)
        shut.touch()
        await caller.pools.RecycleWorker(pool_pb2.RecycleWorkerRequest(pool=POOL, worker=worker.id))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (told := (await workers(caller))[0]).reason != "SuccessorFailed":
                await asyncio.sleep(0.01)
        assert told.state == READY
        assert told.message.endswith("SetupFailed: RuntimeError: the licence has expired")
        assert "in setup" in told.traceback
        assert await pid(caller) == worker.pid
        shut.unlink()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await ready(caller, 1))[0].incarnation == worker.incarnation:
                await asyncio.sleep(0.02)
