"""The end of a capsule: what it says first, what it lets finish, and in which order it ends its workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from snakepit_agent import main as agent_main
from support.capsules import LocalCapsule, capsule, spec
from support.replica import Replica


def agent_asked(local: LocalCapsule) -> None:
    (local.hurry if local.stop.is_set() else local.stop).set()


def keeper_asked(local: LocalCapsule) -> None:
    assert local.keeper is not None
    local.keeper.send_signal(signal.SIGTERM)


ASKED = pytest.mark.parametrize("ask", [agent_asked, keeper_asked], ids=["agent", "keeper"])


@ASKED
async def test_the_capsule_says_that_it_drains_then_calls_finish_then_on_drain_then_teardown(
    control: Replica, tmp_path: Path, ask: Callable[[LocalCapsule], None]
) -> None:
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    async with capsule(spec("support.hoarder:Hoarder"), control, keeper=False) as local:
        await local.start_keeper(NOTES=str(notes))
        (worker,) = await control.ready()
        id_ = control.call(worker, "wait", {"gate": str(gate)})
        await control.begun(id_)
        ask(local)
        await control.until(lambda: control.heard("report")[-1].draining, "draining is reported")
        assert not notes.exists(), "nothing ends before the running call has"
        gate.touch()
        assert await control.value(id_) == worker.pid
        assert local.keeper is not None
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0
        assert notes.read_text().split("\n") == [f"{what} {worker.pid}" for what in ("waited", "on_drain", "teardown")] + [""]


async def test_all_calls_of_a_threaded_worker_finish_before_its_hooks_run(control: Replica, tmp_path: Path) -> None:
    gates, notes = [tmp_path / "one", tmp_path / "two"], tmp_path / "notes"
    async with capsule(spec("support.hoarder:Shared", worker={"profile": "thread", "threads": 2}), control, keeper=False) as local:
        await local.start_keeper(NOTES=str(notes))
        (worker,) = await control.ready()
        running = [control.call(worker, "wait", {"gate": str(gate)}) for gate in gates]
        for id_ in running:
            await control.begun(id_)
        local.stop.set()
        await control.until(lambda: control.heard("report")[-1].draining, "draining is reported")
        for id_, gate in zip(running, gates, strict=True):
            gate.touch()
            assert await control.value(id_) == worker.pid
        assert local.keeper is not None
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0
        assert [line.split()[0] for line in notes.read_text().splitlines()] == ["waited", "waited", "on_drain", "teardown"]


@ASKED
async def test_who_asks_twice_does_not_wait_for_a_call_that_goes_on(
    control: Replica, ask: Callable[[LocalCapsule], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_main, "LINGER_SECONDS", 0.05)
    patient = spec("support.stubborn:Stubborn", drain={"timeoutSeconds": 3600, "killAfterSeconds": 3600})
    async with capsule(patient, control) as local:
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 3600})
        await control.begun(id_)
        ask(local)
        await control.until(lambda: control.heard("report")[-1].draining, "draining is reported")
        ask(local)
        result = await control.result(id_)
        assert (result.error.reason, result.error.details["how"]) == ("WORKER_LOST", "signal 15")
        assert local.keeper is not None
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0


async def test_what_is_registered_for_the_end_of_the_interpreter_runs_after_teardown(control: Replica, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with capsule(spec("support.hoarder:Late"), control, keeper=False) as local:
        await local.start_keeper(NOTES=str(notes))
        await control.ready()
        local.stop.set()
        assert local.keeper is not None
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0
        assert [line.split()[0] for line in notes.read_text().splitlines()] == ["on_drain", "teardown", "exit"]


async def test_a_teardown_that_hangs_gets_term_and_then_kill(control: Replica, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    short = spec("support.hoarder:Clinging", drain={"timeoutSeconds": 3, "killAfterSeconds": 3})
    async with capsule(short, control, keeper=False) as local:
        await local.start_keeper(NOTES=str(notes))
        (worker,) = await control.ready()
        local.stop.set()
        await asyncio.wait_for(local.agent, 20)
        assert local.keeper is not None
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0
        assert notes.read_text().split("\n") == [f"{what} {worker.pid}" for what in ("on_drain", "teardown", "term")] + [""]


async def test_term_reaches_a_workers_children_too_and_kill_comes_later(control: Replica, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    short = spec("support.hoarder:Parental", drain={"timeoutSeconds": 0.3, "killAfterSeconds": 3600})
    async with capsule(short, control, keeper=False) as local:
        await local.start_keeper(NOTES=str(notes))
        (worker,) = await control.ready()
        local.stop.set()
        async with asyncio.timeout(20):
            while not {"child", f"term {worker.pid}"} <= set(notes.read_text().splitlines() if notes.exists() else ()):
                await asyncio.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
        assert local.keeper is not None
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0
