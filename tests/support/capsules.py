"""A whole capsule on this machine: the agent in the test's own loop, the real keeper and real workers as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from snakepit import Pool, SnakepitError
from snakepit.spec import SnakePoolSpec, encode_spec
from snakepit_agent.main import run
from snakepit_agent.settings import Settings
from support.eventually import PATIENCE_SECONDS

TESTS = Path(__file__).parents[1]


class Serving(Protocol):
    """A replica, whoever plays it."""

    @property
    def address(self) -> str: ...


@dataclass(frozen=True)
class At:
    """A port of this machine, whoever is there."""

    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def spec(adapter: str, **sections: Any) -> SnakePoolSpec:
    """Pool settings: `spec("support.sample:Sample", worker={"processes": 2})`."""
    worker = {"adapter": adapter, **sections.pop("worker", {})}
    return msgspec.convert({"worker": worker, **sections}, SnakePoolSpec)


FATAL = spec(
    "support.fatal:Fatal",
    worker={"processes": 2},
    restart={"maxRestarts": 100},
    heartbeat={"intervalSeconds": 0.2, "timeoutSeconds": 3},
)
"""Two workers that may be killed as often as a test likes."""


@asynccontextmanager
async def frozen(pid: int) -> AsyncIterator[None]:
    """The process is stopped, provably, until the block ends: it reads nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            while _state(pid) != "T":
                await asyncio.sleep(0.001)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class LocalCapsule:
    """`stop` asks the agent to drain, `hurry` asks again; `agent` is its task, `keeper` the keeper's process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()
        self.agent: asyncio.Task[None] = asyncio.create_task(run(settings, self.stop, self.hurry))
        self.keeper: asyncio.subprocess.Process | None = None

    async def start_keeper(self, module: str = "snakepit_worker.keeper", **environment: str) -> None:
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.keeper = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env={**os.environ, "PYTHONPATH": path, "SNAKEPIT_RUN_DIR": str(self.settings.run_dir), **environment},
            start_new_session=True,
        )

    async def end(self) -> None:
        """Whatever is left."""
        self.agent.cancel()
        await asyncio.gather(self.agent, return_exceptions=True)
        if self.keeper is not None and self.keeper.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.keeper.send_signal(signal.SIGKILL)
            await asyncio.wait_for(self.keeper.wait(), 10)


@asynccontextmanager
async def capsule(pool_spec: SnakePoolSpec, *servers: Serving, keeper: bool = True, **settings: Any) -> AsyncIterator[LocalCapsule]:
    """A capsule whose agent dials these replicas; the keeper is killed at the end if it is still there."""
    folder = Path(tempfile.mkdtemp(prefix="capsule-"))
    given: dict[str, Any] = {"capsule": "sample-0", "pool": "default/sample", "health_port": 0, **settings}
    addresses = ",".join(each.address for each in servers)
    values = Settings(server=addresses, spec=pool_spec, spec_json=encode_spec(pool_spec), run_dir=folder, **given)
    local = LocalCapsule(values)
    try:
        if keeper:
            await local.start_keeper()
        yield local
    finally:
        await local.end()
        shutil.rmtree(folder)


async def ready(pool: Pool, count: int = 1, seconds: float = PATIENCE_SECONDS) -> Pool:
    """Wait for so many ready workers, for so long."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if sum(worker.state == "ready" for worker in await pool.workers()) == count:
                    return pool
            except SnakepitError:
                pass  # The pool is not known yet.
            await asyncio.sleep(0.01)
