"""Capsules as processes of this machine: carries out what a plan says, and says what there is. It decides nothing.

A capsule is an agent and a keeper, each in a session of its own, so that Ctrl-C reaches neither; both die with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from snakepit._lines import lines_of
from snakepit._names import new_id
from snakepit._tasks import Tasks
from snakepit._wire.trust import OFF
from snakepit_local.files import LocalPool
from snakepit_operator.model import Creation, Phase, PodView
from snakepit_operator.pods import settings_json

GRACE_SECONDS = 10.0
"""A capsule may take this much longer than its drain before it is killed: the grace that pods have too."""

AGENT = "snakepit_agent.main"
KEEPER = "snakepit_worker.keeper"

Process = asyncio.subprocess.Process
OnLine = Callable[[str, str, str, bool], None]
"""`(pool, capsule, line, ours)`: something that the author's container printed, or, `ours`, a record of the agent's log."""


class CapsuleProcesses:
    """One capsule's two processes, from start to end."""

    def __init__(self, local: LocalPool, creation: Creation, run_dir: Path) -> None:
        self.name = creation.name
        self.local = local
        self.creation = creation
        self.run_dir = run_dir
        self.uid = new_id()
        self.created = self.changed = time.time()
        self.deleted = asyncio.Event()
        self.message = ""
        self.ended = False
        self.agent: Process | None = None
        self.keeper: Process | None = None

    @property
    def processes(self) -> list[Process]:
        """Those that have been started."""
        return [each for each in (self.keeper, self.agent) if each is not None]

    def view(self, ready: bool) -> PodView:
        """The capsule as a plan sees a pod."""
        return PodView(
            name=self.name,
            uid=self.uid,
            ordinal=self.creation.ordinal,
            template_hash=self.creation.template_hash,
            phase=Phase.FAILED if self.ended else Phase.RUNNING,
            ready=ready and not self.ended,
            deleting=self.deleted.is_set(),
            created=self.created,
            changed=self.changed,
            attempt=self.creation.attempt,
            reason="ProcessEnded" if self.ended else "",
            message=self.message,
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to both processes."""
        for process in self.processes:
            _signal(process, number)


class Capsules:
    """All capsules of this machine. `wake` is called when one has ended; `environment` is added to that of their programs.

    `token_file`: the agents', where they are asked for a token.
    """

    def __init__(
        self,
        server: str,
        root: Path,
        wake: Callable[[], None],
        on_line: OnLine,
        environment: Mapping[str, str] | None = None,
        token_file: Path | None = None,
    ) -> None:
        self._environment = environment or {}
        self._server = server
        self._root = root
        self._token_file = token_file
        self._wake = wake
        self._on_line = on_line
        self._capsules: dict[str, CapsuleProcesses] = {}
        self._tasks = Tasks()
        self._count = 0

    def of(self, pool: str) -> list[CapsuleProcesses]:
        """The capsules of one pool."""
        return [each for each in self._capsules.values() if each.local.name == pool]

    @property
    def are_gone(self) -> bool:
        """Has the last one ended?"""
        return not self._capsules

    def create(self, local: LocalPool, creation: Creation) -> None:
        """Start it; a name that exists already is left alone."""
        if creation.name in self._capsules:
            return
        self._count += 1
        run_dir = self._root / str(self._count)
        run_dir.mkdir(mode=0o700)
        capsule = self._capsules[creation.name] = CapsuleProcesses(local, creation, run_dir)
        self._tasks.spawn(self._live(capsule), f"capsule {creation.name}")

    def delete(self, name: str) -> None:
        """Drain and end it; it is gone when `of` doesn't list it any more."""
        if (capsule := self._capsules.get(name)) is not None:
            capsule.deleted.set()
            if capsule.ended:
                self._forget(capsule)
                self._wake()

    def renew_code(self, pool: str) -> None:
        """Workers that are started from now on import their code anew."""
        for capsule in self.of(pool):
            if capsule.keeper is not None:
                _signal(capsule.keeper, signal.SIGHUP)

    async def close(self) -> None:
        """Kill what is left, whatever runs in it, and wait for its end."""
        while self._tasks:
            for capsule in self._capsules.values():
                capsule.deleted.set()
                capsule.send(signal.SIGKILL)
            await self._tasks.wait(1.0)

    async def _live(self, capsule: CapsuleProcesses) -> None:
        """Both processes, until either ends or the capsule is deleted; then neither is left."""
        try:
            capsule.agent = await self._start(capsule, AGENT, self._agent_environment(capsule))
            capsule.keeper = await self._start(capsule, KEEPER, {**_keeper_environment(capsule), **self._environment})
            ended = [asyncio.create_task(each.wait()) for each in capsule.processes]
            deleted = asyncio.create_task(capsule.deleted.wait())
            await asyncio.wait([*ended, deleted], return_when=asyncio.FIRST_COMPLETED)
            deleted.cancel()
            if capsule.deleted.is_set():
                await _end(capsule)
            capsule.message = _how(capsule)
            capsule.send(signal.SIGKILL)
            await asyncio.wait(ended)
        finally:
            capsule.send(signal.SIGKILL)
            capsule.changed = time.time()
            capsule.ended = True
            if capsule.deleted.is_set():
                self._forget(capsule)
            self._wake()

    def _forget(self, capsule: CapsuleProcesses) -> None:
        del self._capsules[capsule.name]
        shutil.rmtree(capsule.run_dir, ignore_errors=True)

    async def _start(self, capsule: CapsuleProcesses, module: str, environment: Mapping[str, str]) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "snakepit_local.leash", str(os.getpid()), module),
            cwd=capsule.local.folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._tasks.spawn(self._copy_lines(capsule, process, ours=module == AGENT), f"output of {capsule.name}")
        return process

    async def _copy_lines(self, capsule: CapsuleProcesses, process: Process, *, ours: bool) -> None:
        """What the agent says of a capsule that is ending would only disquiet: it is meant to end."""
        assert process.stdout is not None
        async for line in lines_of(process.stdout):
            if not (ours and capsule.deleted.is_set()):
                self._on_line(capsule.local.name, capsule.name, line, ours)

    def _agent_environment(self, capsule: CapsuleProcesses) -> dict[str, str]:
        metadata = capsule.local.pool.metadata
        return {
            "SNAKEPIT_LOG_LEVEL": "warning",
            **os.environ,
            "SNAKEPIT_LOG_FORMAT": "json",
            "SNAKEPIT_POOL": capsule.local.name,
            "SNAKEPIT_POOL_UID": metadata.uid,
            "SNAKEPIT_POOL_GENERATION": str(metadata.generation),
            "SNAKEPIT_SPEC": settings_json(capsule.local.pool.spec),
            "SNAKEPIT_CAPSULE": capsule.name,
            "SNAKEPIT_POD_UID": capsule.uid,
            "SNAKEPIT_SERVER": self._server,
            "SNAKEPIT_RUN_DIR": str(capsule.run_dir),
            "SNAKEPIT_HEALTH_PORT": "0",
            "SNAKEPIT_METRICS_PORT": "0",
            "SNAKEPIT_CA_FILE": OFF,
            "SNAKEPIT_TOKEN_FILE": str(self._token_file or ""),
            **self._environment,
        }


def _keeper_environment(capsule: CapsuleProcesses) -> dict[str, str]:
    """The author's: what this process has, and the folder of the pool file to import from."""
    path = os.pathsep.join([str(capsule.local.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"PYTHONPATH": path, "SNAKEPIT_RUN_DIR": str(capsule.run_dir)}
    inherited = {name: value for name, value in os.environ.items() if name not in {"GRPC_ENABLE_FORK_SUPPORT", "GRPC_EXPERIMENTS"}}
    return {**inherited, **own, "SNAKEPIT_LOG_FORMAT": "json"}


async def _end(capsule: CapsuleProcesses) -> None:
    """As a pod ends: TERM to the author's container, then to the agent, within the grace that a pod has."""
    drain = capsule.local.pool.spec.drain
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(drain.timeout_seconds + drain.kill_after_seconds + GRACE_SECONDS):
            for process in capsule.processes:
                _signal(process, signal.SIGTERM)
                await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _how(capsule: CapsuleProcesses) -> str:
    named = (("keeper", capsule.keeper), ("agent", capsule.agent))
    return "; ".join(end_of(name, each.returncode) for name, each in named if each is not None and each.returncode is not None)


def end_of(name: str, code: int) -> str:
    """For people: how a process ended, by its exit status."""
    return f"the {name} was killed by signal {-code}" if code < 0 else f"the {name} exited with code {code}"
