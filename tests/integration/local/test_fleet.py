"""The fleet of local mode: a worker that can't start costs nobody else, and whatever is killed, the pool becomes what its file says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import snakepit
from snakepit import Client, Pool, WorkerInfo
from snakepit.cli import local_runs
from snakepit_control_plane.settings import Settings
from snakepit_local.files import read_pools
from snakepit_local.logbook import Logbook
from snakepit_local.machine import Machine
from snakepit_local.report import Reporter
from snakepit_operator.fleet import Fleet
from support.dev_server import pool_file, ready_dev
from support.eventually import eventually

PATIENCE_SECONDS = 30.0

FRAGILE = """
import os
from pathlib import Path
from snakepit import Adapter, tool

class Fragile(Adapter):
    def setup(self):
        if Path(__file__).with_name("broken").exists():
            raise RuntimeError("the licence has expired")

    @tool
    def pid(self) -> int:
        return os.getpid()
"""


async def ready(pool: Pool) -> list[WorkerInfo]:
    try:
        return [each for each in await pool.workers() if each.state == "ready" and each.liveness == "live"]
    except (snakepit.PoolNotFound, snakepit.ServerUnavailable):
        return []


def machine_of(folder: Path) -> Machine:
    pools = read_pools([pool_file(folder, "sample", "support.sample:Sample")], generation=1)
    settings = Settings(listen="127.0.0.1:0", metrics=None, linger_seconds=0.0, drain_seconds=0.0)
    return Machine(pools, settings, Reporter(Console(file=StringIO())))


@contextlib.asynccontextmanager
async def serving(machine: Machine) -> AsyncIterator[str]:
    """In the test's own loop: the address from the moment on that it serves. Ended in a hurry."""
    running = asyncio.create_task(machine.run())
    try:
        await eventually(lambda: hasattr(machine, "control_plane"), "it serves")
        yield machine.control_plane.address
    finally:
        machine.stop.set()
        machine.hurry.set()
        await running


async def test_whoever_asks_first_finds_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine it was "not known here yet" until this process had talked to itself, and the demo ended so."""

    async def says_nothing(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Fleet, "run", says_nothing)
    async with serving(machine_of(tmp_path)) as address, Client(address) as client:
        assert (await client.pool("sample").info()).name == "default/sample"
        assert isinstance(await client.pool("sample").workers(), list)


async def test_whoever_is_answered_finds_the_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control plane answered before there was anything to be told of the logs."""
    answered: list[bool] = []
    begin, machine = Logbook.serve, machine_of(tmp_path)

    async def serves(book: Logbook, path: Path) -> None:
        answered.append(hasattr(machine, "control_plane"))
        await begin(book, path)

    monkeypatch.setattr(Logbook, "serve", serves)
    async with serving(machine) as address:
        assert local_runs.at(address, local_runs.running())
        assert answered == [False]


async def test_a_worker_that_cant_start_any_more_is_named_and_retried_while_the_others_serve(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    broken = tmp_path / "broken"
    file = pool_file(tmp_path, "fragile", "fragile:Fragile", worker="processes: 2, startup: spawn", replicas="1")
    with ready_dev(file) as server:
        async with Client(server.server) as client:
            pool = client.pool("default/fragile")
            broken.touch()
            victim = (await ready(pool))[0]
            os.kill(victim.pid, signal.SIGKILL)

            async def in_backoff() -> list[WorkerInfo]:
                return [each for each in await pool.workers() if each.state == "backoff"]

            await eventually(in_backoff, seconds=PATIENCE_SECONDS)
            failing = (await in_backoff())[0]
            assert failing.id == victim.id
            assert failing.reason == "SetupFailed"
            assert "the licence has expired" in failing.message
            assert "in setup" in failing.traceback
            told = f"{victim.id}: SetupFailed: RuntimeError: the licence has expired\n"
            code, said = await asked(server.server, "doctor")
            assert code == 1
            assert said.startswith(f"{told.rstrip()}; what to do: mend the adapter\n    Traceback (most recent call last)")
            code, said = await asked(server.server, "workers", "fragile")
            assert code == 0
            assert said.endswith(f"\n\n{told}{failing.traceback}\n"), said
            others = {each.pid for each in await ready(pool)}
            assert {await pool.call("pid", timeout=10) for _ in range(10)} <= others
            broken.unlink()

            async def both_ready() -> bool:
                return len(await ready(pool)) == 2

            await eventually(both_ready, seconds=PATIENCE_SECONDS)
            assert await asked(server.server, "doctor") == (0, "nothing is wrong with 1 pool\n")


async def asked(server: str, *command: str) -> tuple[int, str]:
    """The exit status of a command of `snakepit`, and what it printed."""
    words = (sys.executable, "-m", "snakepit.cli", *command, "--server", server)
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_when_all_of_it_is_killed_at_once_it_converges_and_never_exceeds_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    file = pool_file(tmp_path, "burst", "fragile:Fragile", worker="processes: 2", replicas="4")
    with ready_dev(file) as server:
        async with Client(server.server) as client:
            pool = client.pool("default/burst")
            before = await ready(pool)
            assert len(before) == 8
            agents = server.running("snakepit_agent")
            assert len(agents) == 4
            for worker in before:
                os.kill(worker.pid, signal.SIGKILL)
            for agent in agents[:3]:
                os.kill(agent, signal.SIGKILL)
            most = 0

            async def back() -> bool:
                nonlocal most
                now = await ready(pool)
                most = max(most, len({each.id.rpartition("/")[0] for each in now}))
                return len(now) == 8 and not {each.incarnation for each in now} & {each.incarnation for each in before}

            await eventually(back, seconds=PATIENCE_SECONDS)
            assert most <= 4
            assert await pool.call("pid", timeout=10) in {each.pid for each in await ready(pool)}
        server.send(signal.SIGINT)
        assert server.wait() == 130
        server.leaves_nothing()
