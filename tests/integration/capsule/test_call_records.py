"""What two replicas tell of calls together, with real workers that die, and agents that give calls back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

import snakepit
from snakepit.client import asking, views
from snakepit.errors import CallNotFound, ServerUnavailable, WorkerLost
from snakepit_control_plane.server import Running
from support.control_plane import eventually


async def the(pool: snakepit.Pool, **wanted: object) -> views.CallInfo:
    (found,) = await pool.calls(**wanted)  # type: ignore[arg-type]
    return await pool.call_info(found.id)


def whats(call: views.CallInfo) -> list[str]:
    assert [event.seconds for event in call.events] == sorted(event.seconds for event in call.events)
    return [event.what for event in call.events]


async def test_a_call_waits_runs_and_ends_and_each_stage_has_its_time(
    replicas: tuple[Running, Running], pool: snakepit.Pool, tmp_path: Path
) -> None:
    runs = [asyncio.create_task(pool.call("report", {"path": str(tmp_path / f"run{n}")})) for n in range(4)]
    await eventually(lambda: len(list(tmp_path.iterdir())) == 2)
    await eventually(lambda: sum(len(each.flow.calls.unanswered) for each in replicas) == 4)
    open_ones = await pool.calls()
    assert len(open_ones) == 4
    assert {call.state for call in open_ones} <= {"queued", "running"}
    assert len({call.replica for call in open_ones}) == 2
    for n in range(4):
        (tmp_path / f"run{n}.go").touch()
    await asyncio.gather(*runs)
    ended = await pool.calls(state="ended")
    assert [call.id for call in ended] == [call.id for call in sorted(ended, key=lambda call: call.created, reverse=True)]
    assert {call.id for call in ended} == {call.id for call in open_ones}
    for call in ended:
        assert (call.reason, call.started) == ("OK", "yes")
        assert call.queue_seconds + call.run_seconds <= call.total_seconds + 0.001
        told = await pool.call_info(call.id)
        assert whats(told)[-1] == "answered"
        assert whats(told).count("sent") + whats(told).count("sent ahead") == told.tries
    history = await pool.history()
    assert sum(minute.calls for minute in history.minutes) == 4
    assert (history.errors, history.missing) == ({}, ())


async def test_a_call_whose_worker_dies_has_each_of_its_tries(pool: snakepit.Pool, tmp_path: Path) -> None:
    assert await pool.call("again", {"path": str(tmp_path / "runs"), "deaths": 2}) == 3
    call = await the(pool, tool="again")
    assert (call.reason, call.tries) == ("OK", 3)
    assert [what for what in whats(call) if what in ("sent", "rerun", "answered")] == ["sent", "rerun", "sent", "rerun", "sent", "answered"]
    with pytest.raises(WorkerLost):
        await pool.call("once", {"path": str(tmp_path / "once")})
    call = await the(pool, reason="WORKER_LOST")
    assert (call.tool, call.tries, call.started) == ("once", 1, "maybe")
    assert call.worker.startswith("sample-0/")
    assert call.incarnation
    assert (await pool.history()).errors == {"WORKER_LOST": 1}


async def test_of_a_call_with_a_key_its_run_is_told(pool: snakepit.Pool, tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path / "run")}
    first = asyncio.create_task(pool.call("report", arguments, idempotency_key="one"))
    await eventually(lambda: len(list(tmp_path.iterdir())) == 1)
    (running,) = await pool.calls()
    assert (running.state, running.worker.startswith("sample-0/")) == ("running", True)
    (tmp_path / "run.go").touch()
    assert await first == 1
    call = await pool.call_info(running.id)
    assert whats(call) == ["joined", "sent", "answered"]
    assert (call.tries, call.worker) == (1, running.worker)
    assert await pool.call("report", arguments, idempotency_key="one") == 1
    replayed = (await pool.calls())[0]
    assert (replayed.reason, replayed.tries, replayed.worker) == ("OK", 0, running.worker)


async def test_a_call_with_a_key_is_cancelled_with_its_run(pool: snakepit.Pool, tmp_path: Path) -> None:
    first = asyncio.create_task(pool.call("report", {"path": str(tmp_path / "run")}, idempotency_key="one"))
    await eventually(lambda: len(list(tmp_path.iterdir())) == 1)
    (running,) = await pool.calls()
    assert await pool.cancel(running.id)
    with pytest.raises(snakepit.Cancelled):
        await first
    assert await pool.calls(state="running") == []


async def test_a_replica_that_says_nothing_is_left_out_and_named(
    replicas: tuple[Running, Running], pool: snakepit.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ALL_SECONDS", 3.0)  # In which the other one answers, however busy the machine is.
    for _ in range(4):
        await pool.call("work", {"path": str(tmp_path / "runs")})
    assert len(await pool.calls()) == 4
    silent, stays = replicas
    stuck = asyncio.Event()

    async def caller(*_: object) -> None:
        await stuck.wait()

    monkeypatch.setattr(silent.door, "caller", caller)
    calls, history = await asyncio.gather(pool.calls(), pool.history())
    assert calls.missing == history.missing == (silent.address,)
    assert {call.replica for call in calls} == {stays.replica}
    with pytest.raises(CallNotFound):
        await pool.call_info("nobody")
    monkeypatch.setattr(stays.door, "caller", caller)
    with pytest.raises((snakepit.DeadlineExceeded, ServerUnavailable)):
        await pool.calls()
    stuck.set()


async def test_times_of_replicas_are_of_the_same_clock(pool: snakepit.Pool, tmp_path: Path) -> None:
    for _ in range(6):
        await pool.call("work", {"path": str(tmp_path / "runs")})
    newest_first = [call.created for call in await pool.calls()]
    assert newest_first == sorted(newest_first, reverse=True)
    assert newest_first[0] - newest_first[-1] < timedelta(minutes=1)
    assert len({call.replica for call in await pool.calls()}) == 2
