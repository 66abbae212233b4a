"""Sessions at the agent: it alone keeps their order, whichever replica their calls come through, and says when one may move away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from snakepit.errors import Started
from snakepit.v1 import link_pb2, pool_pb2
from support.capsules import capsule, spec
from support.replica import Replica, replica

THREADS = {"profile": "thread", "threads": 4}
QUIET = {"intervalSeconds": 30, "timeoutSeconds": 120}
FIRST = {"session_id": "s", "session_uid": "u", "session_epoch": 1, "turn": link_pb2.TURN_WAIT}


@pytest.fixture
async def sides() -> AsyncIterator[list[Replica]]:
    async with replica(id_="one") as one, replica(id_="two") as two:
        yield [one, two]


@asynccontextmanager
async def workers(sides: list[Replica], adapter: str = "support.threaded:Threaded", **worker: Any) -> AsyncIterator[pool_pb2.Worker]:
    async with capsule(spec(adapter, worker=worker or THREADS, heartbeat=QUIET), *sides):
        for side in sides:
            (ready,) = await side.ready()
        yield ready


def release(side: Replica, worker: pool_pb2.Worker, **how: bool) -> None:
    body = link_pb2.SessionRelease(
        session_id="s", session_uid="u", session_epoch=1, worker=worker.id, incarnation=worker.incarnation, **how
    )
    side.send(link_pb2.Frame(session_release=body))


async def heard(side: Replica, count: int = 1) -> Any:
    return (await side.until(lambda: (found := side.heard("session_released"))[count - 1 :] and found, "an answer about the session"))[-1]


async def read(side: Replica, worker: pool_pb2.Worker) -> None:
    """The agent has read everything that this replica has sent."""
    await side.result(side.call(worker, "quick", {}))


async def test_calls_of_an_ordered_session_run_one_at_a_time_in_arrival_order_whichever_replica_they_came_through(
    sides: list[Replica],
) -> None:
    async with workers(sides) as worker:
        spells = []
        for turn in range(10):
            side = sides[turn % 2]
            spells.append((side, side.call(worker, "spell", {"seconds": 0.02}, **FIRST)))
            await read(side, worker)
        ran = [await side.value(id_) for side, id_ in spells]
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(ran)), ran


async def test_calls_of_other_sessions_and_of_none_do_not_wait_for_it(sides: list[Replica]) -> None:
    one, two = sides
    async with workers(sides) as worker:
        gate = one.call(worker, "wait_at_the_gate", {}, **FIRST)
        await read(one, worker)
        behind = two.call(worker, "quick", {}, **FIRST)
        await read(two, worker)
        other = two.call(worker, "quick", {}, **{**FIRST, "session_id": "other", "session_uid": "v"})
        assert await two.value(other) == "quick"
        assert await two.value(two.call(worker, "open_the_gate", {})) is None
        await one.result(gate)
        assert await two.value(behind) == "quick"


@pytest.mark.parametrize("how", ["cancelled", "past its deadline"])
async def test_a_call_that_is_over_before_its_turn_never_runs(sides: list[Replica], how: str) -> None:
    one, two = sides
    async with workers(sides) as worker:
        gate = one.call(worker, "wait_at_the_gate", {}, **FIRST)
        await read(one, worker)
        behind = two.call(worker, "quick", {}, timeout_seconds=0.2 if how != "cancelled" else 30, **FIRST)
        if how == "cancelled":
            await read(two, worker)
            two.send(link_pb2.Frame(cancel=link_pb2.Cancel(id=behind, reason="CANCELLED")))
        result = await two.result(behind)
        assert (result.error.reason, result.error.started) == ("CANCELLED" if how == "cancelled" else "DEADLINE", int(Started.NO))
        two.call(worker, "open_the_gate", {})
        await one.result(gate)
        assert await two.value(two.call(worker, "quick", {}, **FIRST)) == "quick"


async def test_a_call_that_does_not_wait_is_rejected_as_busy(sides: list[Replica]) -> None:
    one, two = sides
    async with workers(sides) as worker:
        gate = one.call(worker, "wait_at_the_gate", {}, **FIRST)
        await read(one, worker)
        busy = two.call(worker, "quick", {}, **{**FIRST, "turn": link_pb2.TURN_NOW})
        assert (await two.rejected(busy)).reason == "BUSY"
        within = two.call(worker, "open_the_gate", {}, **{**FIRST, "turn": link_pb2.TURN_WITHIN_PARENT})
        await two.result(within)
        await one.result(gate)


async def test_a_session_is_released_when_it_is_idle_and_takes_no_call_of_that_epoch_any_more(sides: list[Replica]) -> None:
    one, two = sides
    async with workers(sides) as worker:
        gate = one.call(worker, "wait_at_the_gate", {}, **FIRST)
        await read(one, worker)
        release(two, worker)
        assert not (await heard(two)).released
        release(two, worker, wait=True)
        one.call(worker, "open_the_gate", {})
        await one.result(gate)
        assert (await heard(two, 2)).released
        assert (await one.rejected(one.call(worker, "quick", {}, **FIRST))).reason == "RELEASED"
        assert await one.value(one.call(worker, "quick", {}, **{**FIRST, "session_epoch": 2})) == "quick"
        assert (await one.rejected(one.call(worker, "quick", {}, **FIRST))).reason == "RELEASED"
        release(two, worker)
        assert (await heard(two, 3)).released


async def test_a_session_stays_with_a_worker_that_has_room_though_a_replica_takes_it_for_busy(sides: list[Replica]) -> None:
    one, two = sides
    async with workers(sides) as worker:
        assert await one.value(one.call(worker, "quick", {}, **FIRST)) == "quick"
        release(two, worker)
        assert not (await heard(two)).released
        assert await two.value(two.call(worker, "quick", {}, **FIRST)) == "quick"
        for _ in range(worker.slots):
            one.call(worker, "wait_at_the_gate", {})
        release(one, worker)
        assert (await heard(one)).released, "it is busy, and the session idle"


async def test_a_session_that_must_go_has_its_running_call_fail_and_its_waiting_ones_come_back(sides: list[Replica]) -> None:
    one, two = sides
    async with workers(sides) as worker:
        running = one.call(worker, "spin", {}, **FIRST)
        await read(one, worker)
        waiting = two.call(worker, "quick", {}, **FIRST)
        release(two, worker, force=True)
        assert (await two.rejected(waiting)).reason == "RELEASED"
        assert (await heard(two)).released
        result = await one.result(running)
        assert (result.error.reason, result.error.started) == ("STALE_EPOCH", int(Started.YES))
        assert await two.value(two.call(worker, "quick", {}, **{**FIRST, "session_epoch": 2})) == "quick"


async def test_a_later_epoch_fences_the_calls_of_an_earlier_one(sides: list[Replica]) -> None:
    one, two = sides
    async with workers(sides) as worker:
        running = one.call(worker, "spin", {}, **FIRST)
        await read(one, worker)
        assert await two.value(two.call(worker, "quick", {}, **{**FIRST, "session_epoch": 2})) == "quick"
        assert (await one.result(running)).error.reason == "STALE_EPOCH"
        assert (await one.rejected(one.call(worker, "quick", {}, **FIRST))).reason == "RELEASED"


async def test_what_waits_for_its_turn_when_its_replicas_link_breaks_is_not_started_and_is_not_in_the_next_hello(
    sides: list[Replica],
) -> None:
    one, two = sides
    async with workers(sides) as worker:
        gate = one.call(worker, "wait_at_the_gate", {}, **FIRST)
        await read(one, worker)
        waiting = two.call(worker, "open_the_gate", {}, **FIRST)
        await read(two, worker)
        assert two.link is not None
        two.link.close("broken by the test")
        await two.until(lambda: len(two.hellos) == 2, "another hello")
        assert waiting not in two.hellos[1].running
        await two.until(lambda: two.link is not None and two.link.is_open, "another link")
        one.call(worker, "open_the_gate", {})
        await one.result(gate)
        assert await two.value(two.call(worker, "quick", {}, **FIRST)) == "quick"


async def test_a_dead_worker_gives_back_the_calls_that_waited_for_their_turn(sides: list[Replica]) -> None:
    one, two = sides
    async with workers(sides) as worker:
        running = one.call(worker, "wait_at_the_gate", {}, **FIRST)
        await read(one, worker)
        waiting = two.call(worker, "quick", {}, **FIRST)
        await read(two, worker)
        os.kill(worker.pid, signal.SIGKILL)
        assert (await two.rejected(waiting)).reason == "WORKER_GONE"
        assert (await one.result(running)).error.reason == "WORKER_LOST"


async def test_the_worker_hears_of_a_sessions_end_once_and_not_of_one_that_has_come_back(sides: list[Replica]) -> None:
    one, two = sides
    async with workers(sides, "support.sample:Sessions", profile="process", processes=1) as worker:
        await one.result(one.call(worker, "seen", {}, **FIRST))
        release(two, worker)
        release(two, worker)
        await heard(two, 2)
        await one.result(one.call(worker, "seen", {}, **{**FIRST, "session_epoch": 2}))
        one.send(link_pb2.Frame(session_end=link_pb2.SessionEnd(session_id="s", session_uid="another", incarnation=worker.incarnation)))
        one.send(link_pb2.Frame(session_end=link_pb2.SessionEnd(session_id="s", session_uid="u", incarnation=worker.incarnation)))
        await events(one, worker, ["start s", "end s", "start s", "end s"])


async def events(side: Replica, worker: pool_pb2.Worker, expected: list[str]) -> None:
    """The adapter was told so, in the end."""
    async with asyncio.timeout(10):
        while True:
            seen = await side.value(side.call(worker, "seen"))
            if len(seen) >= len(expected):
                assert seen == expected
                return


async def test_who_only_looks_is_told_so_and_the_session_goes_on(sides: list[Replica]) -> None:
    async with workers(sides) as worker:
        release(sides[0], worker, look=True)
        answer = await heard(sides[0])
        assert (answer.released, answer.look) == (True, True)
        await sides[0].value(sides[0].call(worker, "quick", {}, **FIRST))
        release(sides[0], worker, force=True)
        answer = await heard(sides[0], 2)
        assert (answer.released, answer.look) == (True, False)
