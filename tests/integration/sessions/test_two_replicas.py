"""Sessions with two control-plane replicas, a real Redis and real capsules: whichever replica a call comes through."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from snakepit import Client
from snakepit.errors import SessionWorkerUnavailable, SnakepitError, StaleEpoch, Started, WorkerBusy
from snakepit.v1 import pool_pb2
from support.control_plane import STRICT_FAIL_FAST, STRICT_QUEUE, counted, eventually, outcome, rpc
from support.simulated_agent import POOL

if TYPE_CHECKING:
    from conftest import World

    from snakepit_control_plane.server import Running

THREADS = {"profile": "thread", "threads": 4}


def number(answer: Any) -> int:
    return int(answer.json.number_value)


class Busy:
    """A worker that runs a call of no session until `end`."""

    def __init__(self, world: World, call: asyncio.Task[Any], gate: str) -> None:
        self._world, self._call, self._gate = world, call, gate

    async def end(self) -> None:
        self._world.open(self._gate)
        await self._call


async def occupy(world: World, pid: int) -> Busy:
    """Keep that worker busy, and leave the others free, as both replicas know."""
    names = [f"other-{index}" for index in range(len(await world.workers(world.sides[0])))]
    calls = {name: Busy(world, world.wait(0, name, gate=name), name) for name in names}
    for name in names:
        await world.until(f"begin {name}")
    (chosen,) = [name for name in names if f"{name} in {pid}" in world.lines()]
    busy = calls.pop(chosen)
    for other in calls.values():
        await other.end()
    await eventually(lambda: all(loads(server) == 1 for server in world.servers), "both replicas know of one call")
    return busy


def loads(server: Running) -> int:
    return sum(worker.load for worker in server.flow.pools[POOL].workers.values())


async def test_a_session_sticks_to_its_worker_through_both_replicas_while_it_has_room(world: World) -> None:
    async with world.capsule(0), world.capsule(1):
        await world.sides[0].create("s")
        pids = [number(await world.sides[turn % 2].call("where", session_id="s")) for turn in range(8)]
        assert len(set(pids)) == 1
        assert (await world.sides[0].session("s")).epoch == 1


async def test_hint_falls_back_when_its_worker_is_busy_and_rebinds_and_the_other_replica_follows(world: World) -> None:
    async with world.capsule(0):
        await world.sides[0].create("s")
        bound = await world.sides[0].call("where", session_id="s")
        assert number(await world.sides[1].call("where", session_id="s")) == number(bound)
        busy = await occupy(world, number(bound))
        moved = await world.sides[0].call("where", session_id="s")
        followed = await world.sides[1].call("where", session_id="s")
        assert moved.worker != bound.worker
        assert followed.incarnation == moved.incarnation
        session = await world.sides[1].session("s")
        assert (session.incarnation, session.epoch) == (moved.incarnation, 2)
        await busy.end()


async def test_a_session_does_not_move_while_its_call_runs_through_the_other_replica(world: World) -> None:
    async with world.capsule(0):
        await world.sides[0].create("s")
        first = world.wait(0, "first", session_id="s")
        await world.until("begin first")
        second = world.sides[1].start("note", {"journal": world.journal, "text": "second"}, session_id="s")
        pool = world.servers[1].flow.pools[POOL]
        await eventually(lambda: any(call.tool == "note" for capsule in pool.capsules.values() for call in capsule.inflight.values()))
        assert number(await world.sides[1].call("where")) > 0
        world.open()
        assert number(await first) == number(await second)
        assert world.ran() == ["begin first", "end first", "begin second", "end second"]
        assert (await world.sides[0].session("s")).epoch == 1


async def test_strict_queue_waits_for_its_worker_though_others_idle_and_others_skip_it(world: World) -> None:
    async with world.capsule(0):
        await world.sides[0].create("s")
        bound = await world.sides[0].call("where", session_id="s")
        busy = await occupy(world, number(bound))
        pinned = [side.start("where", session_id="s", affinity=STRICT_QUEUE) for side in world.sides]
        await eventually(lambda: all(server.flow.pools[POOL].queue.depth == 1 for server in world.servers))
        for side in world.sides:
            assert number(await side.call("where")) != number(bound)
        assert not any(call.done() for call in pinned)
        await busy.end()
        assert {number(call) for call in await asyncio.gather(*pinned)} == {number(bound)}
        assert (await world.sides[0].session("s")).epoch == 1


async def test_strict_fail_fast_answers_worker_busy_and_queues_nothing(world: World) -> None:
    async with world.capsule(0):
        await world.sides[0].create("s")
        bound = await world.sides[0].call("where", session_id="s")
        busy = await occupy(world, number(bound))
        for side, server in zip(world.sides, world.servers, strict=True):
            with pytest.raises(WorkerBusy):
                await side.call("where", session_id="s", affinity=STRICT_FAIL_FAST)
            assert server.flow.pools[POOL].queue.depth == 0
        await busy.end()


async def test_strict_fail_fast_does_not_wait_behind_a_call_of_its_session_that_came_through_the_other_replica(world: World) -> None:
    async with world.capsule(0, worker=THREADS):
        await world.sides[0].create("s")
        first = world.wait(0, "first", session_id="s", affinity=STRICT_FAIL_FAST)
        await world.until("begin first")
        for side in world.sides:
            with pytest.raises(WorkerBusy) as refused:
                await side.call("where", session_id="s", affinity=STRICT_FAIL_FAST)
            assert refused.value.started is Started.NO
        world.open()
        await first
        assert number(await world.sides[1].call("where", session_id="s", affinity=STRICT_FAIL_FAST)) > 0


async def crash(world: World, worker: pool_pb2.Worker, local: Any) -> None:
    os.kill(worker.pid, signal.SIGKILL)


async def recycle(world: World, worker: pool_pb2.Worker, local: Any) -> None:
    await rpc(world.sides[0].pools.RecycleWorker(pool_pb2.RecycleWorkerRequest(pool=POOL, worker=worker.id)))


async def evict(world: World, worker: pool_pb2.Worker, local: Any) -> None:
    local.stop.set()


async def scale_down(world: World, worker: pool_pb2.Worker, local: Any) -> None:
    for server in world.servers:
        server.fleet.sync([], complete=False, drain=["uid-0"])


async def drain_node(world: World, worker: pool_pb2.Worker, local: Any) -> None:
    """The operator cordons what others delete, too."""
    for server in world.servers:
        server.fleet.sync([], complete=False, drain=["uid-0"], evicted=["uid-0"])


async def lose(world: World, worker: pool_pb2.Worker, local: Any) -> None:
    local.agent.cancel()


@pytest.mark.parametrize(
    ("end", "why"),
    [(crash, "crashed"), (recycle, "recycled"), (evict, "evicted"), (scale_down, "scaled down"), (drain_node, "evicted"), (lose, "lost")],
    ids=["crashed", "recycled", "evicted", "scaled down", "evicted, as the operator says", "lost"],
)
async def test_a_strict_session_whose_worker_is_gone_hears_why_from_both_replicas_and_goes_on_after_rebind(
    world: World, end: Any, why: str
) -> None:
    async with world.capsule(0, processes=1) as local:
        (worker,) = await world.workers(world.sides[0])
        await world.sides[0].create("s")
        await world.sides[0].call("remember", {"key": "k", "value": 1}, session_id="s", affinity=STRICT_QUEUE)
        before = await world.sides[0].session("s")
        async with world.capsule(1, processes=1):
            await end(world, worker, local)
            for side, server in zip(world.sides, world.servers, strict=True):
                await eventually(lambda server=server: not usable(server, worker))
                with pytest.raises(SessionWorkerUnavailable, match=why) as refused:
                    await side.call("where", session_id="s", affinity=STRICT_QUEUE)
                assert refused.value.details["why"] == why
                assert refused.value.started is Started.NO
            asked = "snakepit_store_operation_duration_seconds_count"
            await eventually(lambda: all(counted(each, asked, operation="note_lost") == 1 for each in world.servers), "both have said so")
            assert sum(counted(each, "snakepit_sessions_lost_total", pool=POOL, reason=why) for each in world.servers) == 1
            assert (await world.sides[1].rebind("s")).epoch == before.epoch + 1
            for side in world.sides:
                after = await side.call("recall", {"key": "k"}, session_id="s", affinity=STRICT_QUEUE)
                assert after.incarnation != worker.incarnation
                assert after.json.list_value.values[0].number_value == 1
            assert (await world.sides[0].session("s")).epoch == before.epoch + 1


def usable(server: Any, worker: pool_pb2.Worker) -> bool:
    """Is that life of it alive, kept for its strict sessions, or still in doubt, as this replica sees it?"""
    found = server.flow.pools[POOL].find(worker.id, worker.incarnation)
    return found is not None and (found.alive or found.retiring or not found.capsule.linked)


async def test_two_simultaneous_first_calls_of_one_session_through_different_replicas_meet_on_one_worker(world: World) -> None:
    async with world.capsule(0), world.capsule(1):
        for index in range(20):
            await world.sides[0].create(f"s{index}")
            pair = await asyncio.gather(*(side.call("where", session_id=f"s{index}") for side in world.sides))
            assert len({answer.incarnation for answer in pair}) == 1
            assert (await world.sides[1].session(f"s{index}")).epoch == 1


async def test_a_worker_that_was_restarted_under_the_same_name_is_another_one_to_strict_sessions(world: World) -> None:
    async with world.capsule(0, processes=1):
        await world.sides[0].create("s")
        before = await world.sides[0].call("where", session_id="s", affinity=STRICT_QUEUE)
        os.kill(number(before), signal.SIGKILL)
        for side in world.sides:
            await world.until_ready(side, 1, without=before.incarnation)
            with pytest.raises(SessionWorkerUnavailable):
                await side.call("where", session_id="s", affinity=STRICT_QUEUE)
        await world.sides[1].rebind("s")
        after = await world.sides[0].call("where", session_id="s", affinity=STRICT_QUEUE)
        assert (after.worker, after.incarnation != before.incarnation) == (before.worker, True)


async def test_a_fenced_workers_result_and_state_write_are_refused_after_a_rebind_through_the_other_replica(world: World) -> None:
    async with world.capsule(0, drain={"killAfterSeconds": 30}):
        await world.sides[0].create("s")
        await world.sides[0].call("remember", {"key": "k", "value": "early"}, session_id="s")
        fenced = world.sides[0].start("insist", {"journal": world.journal, "gate": world.gate()}, session_id="s")
        await world.until("begin insist")
        assert (await world.sides[1].rebind("s")).epoch == 2
        with pytest.raises(StaleEpoch) as refused:
            await fenced
        assert refused.value.started is Started.YES
        after = await world.sides[1].call("recall", {"key": "k"}, session_id="s")
        assert after.json.list_value.values[0].string_value == "early"
        await world.until("told to stop")  # Or it is told while it writes, which is then no refusal.
        world.open()
        await world.until("refused STALE_EPOCH")
        assert (await world.sides[0].call("recall", {"key": "k"}, session_id="s")).json.list_value.values[1].number_value == 1


@pytest.mark.parametrize("worker", [{"processes": 3}, THREADS], ids=["processes", "threads"])
async def test_ordered_sessions_run_one_call_at_a_time_and_each_replicas_calls_in_order(world: World, worker: dict[str, Any]) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with (
        world.capsule(0, processes=3, worker=worker),
        # By a link each: a connection of plain gRPC may bring calls that were sent at once in another order.
        Client(world.servers[0].address) as first,
        Client(world.servers[1].address) as second,
    ):
        sides = [first.pool(POOL), second.pool(POOL)]
        await world.sides[0].create("s")
        for side in sides:
            await side.call("where")
        calls = []
        for turn in range(60):
            side = chance.randrange(2)
            arguments = {"journal": world.journal, "text": f"{side} {turn}", "seconds": chance.choice([0, 0, 0.003])}
            calls.append(asyncio.create_task(sides[side].session("s").call("note", arguments)))
            calls.append(asyncio.create_task(sides[side].call("where")))
            if chance.random() < 0.5:
                await asyncio.sleep(0)
        await asyncio.gather(*calls)
    lines = world.lines()
    assert len(lines) == 120
    ran = []
    for begin, end in zip(lines[::2], lines[1::2], strict=True):
        assert (begin.split()[0], end.split()[0]) == ("begin", "end")
        assert begin.split()[1:] == end.split()[1:], "two calls at once"
        ran.append(begin.split()[1:])
    for side in "01":
        turns = [int(turn) for who, turn in ran if who == side]
        assert turns == sorted(turns), f"replica {side} lost the order"


async def test_neither_replica_starves_while_the_other_never_stops_calling_the_same_session(world: World) -> None:
    async with world.capsule(0, processes=1):
        await world.sides[0].create("s")
        stop = asyncio.Event()

        async def keep_calling() -> int:
            count = 0
            while not stop.is_set():
                await world.sides[0].call("note", {"journal": world.journal, "text": "x", "seconds": 0.002}, session_id="s")
                count += 1
            return count

        load = [asyncio.create_task(keep_calling()) for _ in range(4)]
        for _ in range(10):
            await world.sides[1].call("where", session_id="s", affinity=STRICT_QUEUE)
        stop.set()
        assert sum(await asyncio.gather(*load)) > 0


async def test_a_call_that_is_cancelled_or_late_while_it_waits_at_the_agent_never_runs(world: World) -> None:
    async with world.capsule(0, worker=THREADS):
        await world.sides[0].create("s")
        first = world.wait(0, "first", session_id="s")
        await world.until("begin first")
        late = world.sides[1].start("note", {"journal": world.journal, "text": "late"}, session_id="s", timeout=0.3)
        answer = await outcome(late)
        assert isinstance(answer, SnakepitError)
        assert answer.reason == "DEADLINE"
        cancelled = world.sides[1].start("note", {"journal": world.journal, "text": "cancelled"}, session_id="s")
        pool = world.servers[1].flow.pools[POOL]
        await eventually(lambda: any(capsule.inflight for capsule in pool.capsules.values()))
        cancelled.cancel()
        await eventually(lambda: not any(capsule.inflight for capsule in pool.capsules.values()))
        world.open()
        await first
        await world.sides[1].call("note", {"journal": world.journal, "text": "third"}, session_id="s")
        assert world.ran() == ["begin first", "end first", "begin third", "end third"]
