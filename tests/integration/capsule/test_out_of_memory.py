"""The kernel's out-of-memory killer, as it shows: a counter of the cgroup goes up, and processes are gone by SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from snakepit.v1 import pool_pb2
from support.capsules import LocalCapsule, capsule, spec
from support.families import descendants
from support.replica import Replica


class Cgroup:
    """Its `memory.events`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "memory.events"
        self._count(0)

    def kill(self, *pids: int) -> None:
        """As the kernel does: it counts first."""
        self._count(len(pids))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # It has gone with the one before.
                os.kill(pid, signal.SIGKILL)

    def _count(self, kills: int) -> None:
        self.path.write_text(f"low 0\nhigh 0\nmax 9\noom 1\noom_kill {kills}\noom_group_kill 0\n")


@asynccontextmanager
async def counted(control: Replica, cgroup: Cgroup, workers: int) -> AsyncIterator[LocalCapsule]:
    settings = spec("support.stubborn:Stubborn", worker={"processes": workers})
    async with capsule(settings, control, keeper=False) as local:
        await local.start_keeper("support.counted_keeper", MEMORY_EVENTS=str(cgroup.path))
        yield local


async def running(control: Replica, workers: list[pool_pb2.Worker]) -> list[int]:
    """A call in each of them, provably begun."""
    calls = [control.call(worker, "hold", {"seconds": 60}) for worker in workers]
    for call in calls:
        await control.begun(call)
    return calls


async def test_one_process_that_the_kernel_killed_is_named_and_another_one_is_not(control: Replica, tmp_path: Path) -> None:
    cgroup = Cgroup(tmp_path)
    async with counted(control, cgroup, 2):
        workers = await control.ready(2)
        greedy, other = await running(control, workers)
        cgroup.kill(workers[0].pid)
        error = (await control.result(greedy)).error
        assert (error.reason, error.details["how"]) == ("WORKER_LOST", "oom")
        assert error.message == "worker sample-0/0 died during the call: out of memory: the kernel killed it"
        restarted = await control.until(lambda: [w for w in control.workers() if w.restarts == 1], "its successor")
        assert [worker.id for worker in restarted] == [workers[0].id]
        os.kill(workers[1].pid, signal.SIGKILL)
        assert (await control.result(other)).error.details["how"] == "signal 9"


@pytest.mark.parametrize("first", ["keeper", "workers"])
async def test_when_the_whole_container_is_killed_callers_are_told_at_once_and_the_agent_stays(
    control: Replica, tmp_path: Path, first: str
) -> None:
    cgroup = Cgroup(tmp_path)
    async with counted(control, cgroup, 2) as local:
        workers = await control.ready(2)
        calls = await running(control, workers)
        assert local.keeper is not None
        container = [local.keeper.pid, *descendants(local.keeper.pid)]
        cgroup.kill(*(container if first == "keeper" else reversed(container)))
        for call in calls:
            error = (await control.result(call)).error
            assert (error.reason, error.details["how"]) == ("WORKER_LOST", "oom")
        await control.until(lambda: {w.reason for w in control.workers()} == {"OutOfMemory"}, "status names it")
        await asyncio.wait_for(local.keeper.wait(), 10)
        await local.start_keeper()
        successors = await control.ready(2)
        assert {w.incarnation for w in successors}.isdisjoint(w.incarnation for w in workers)
        assert await control.value(control.call(successors[0], "echo", {"value": 2})) == 2
        assert len(control.hellos) == 1, "the agent never left"
