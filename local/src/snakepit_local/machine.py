"""One machine's Snakepit: the control plane in this process, capsules as child processes, and the operator's own plan between them.

Level-triggered as the operator is: each pass looks at everything and does what the plan says, so what is killed comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Sequence, Set
from pathlib import Path

from rich.console import Console

from snakepit._telemetry import log_lines
from snakepit._wire.token import Token
from snakepit._wire.trust import OFF
from snakepit.cli import INTERRUPTED
from snakepit.cli.local_runs import LOGBOOK, make_root, say_where
from snakepit.client import Client, ToolInfo, WorkerInfo
from snakepit.errors import SnakepitError
from snakepit_control_plane.authentication import LocalTokens
from snakepit_control_plane.server import Running, serve
from snakepit_control_plane.settings import Settings
from snakepit_local.files import LocalPool, Snapshot, adapter_source, broken, sources, state_of
from snakepit_local.gateway import Door, Gateway
from snakepit_local.logbook import Logbook
from snakepit_local.processes import Capsules
from snakepit_local.report import Reporter, needy_tools
from snakepit_operator.fleet import Fleet
from snakepit_operator.model import FleetView, Observed, Plan
from snakepit_operator.plan import plan
from snakepit_operator.pods import pool_settings
from snakepit_operator.rollout import desired

RESYNC_SECONDS = 1.0
"""Everything is looked at this often, even when nobody says that it changed."""

WATCH_SECONDS = 0.1
"""Between two looks at the code of a pool, or ten times as long as a look takes."""

WATCHING = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Bytecode is taken for that of a source of the same second and size, and people save faster than that."""

RELOAD_SECONDS = 0.05
"""Between two looks at whether the new code serves."""

OWN_TOKEN = "token"
"""In the folder of a run, where callers are asked for theirs: what this process, and the agents that it starts, bring."""

STOP_SECONDS = 2.0


def debugging(terminal: str) -> dict[str, str]:
    """For agents and keepers."""
    return {"SNAKEPIT_DEBUG_TERMINAL": terminal, "SNAKEPIT_SETUP_TIMEOUT_SECONDS": "86400"}


class Machine:
    """`run` it until `stop` is set; `hurry` cuts the drain short. `terminal`: the path of the one that workers' debuggers talk to."""

    def __init__(
        self,
        pools: Sequence[LocalPool],
        settings: Settings,
        reporter: Reporter,
        *,
        door: Door | None = None,
        watch: bool = False,
        terminal: str = "",
    ) -> None:
        self._environment = (WATCHING if watch else {}) | (debugging(terminal) if terminal else {})
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self._pools = {pool.name: pool for pool in pools}
        self._settings = settings
        self._reporter = reporter
        self._door = door or Door()
        self._watch = watch
        self._token_file: Path | None = None
        self._changed = asyncio.Event()
        self._complete = asyncio.Event()

    async def run(self) -> None:
        """Raises AddressInUse. When it returns, nothing of it is left."""
        root = make_root()
        if isinstance(tokens := self._settings.authentication, LocalTokens):
            self._token_file = root / OWN_TOKEN
            self._token_file.touch(0o600)
            self._token_file.write_text(tokens.own)
        try:
            logbook = Logbook(self._pools)
            await logbook.serve(root / LOGBOOK)
            try:
                await self._serve(root, logbook)
            finally:
                await logbook.close()
        finally:
            shutil.rmtree(root, ignore_errors=True)

    async def _serve(self, root: Path, logbook: Logbook) -> None:
        self.control_plane = await serve(self._settings, pools=[pool_settings(local.pool) for local in self._pools.values()])
        try:
            say_where(root, self.control_plane.address)  # Before anything else: whoever is answered there may look for its logs.
            await self._with_control_plane(self.control_plane, root, logbook)
        finally:
            await self._stop_control_plane(self.control_plane)

    def _client(self) -> Client:
        return Client(self.control_plane.address, token_file=self._token_file, ca_file=OFF)

    def wake(self, *_: object) -> None:
        """Something has changed: look at all pools soon."""
        self._changed.set()

    async def _with_control_plane(self, control_plane: Running, root: Path, logbook: Logbook) -> None:
        self._reporter.door(self._door.url, self._door.remark)

        def on_line(pool: str, capsule: str, line: str, ours: bool) -> None:
            said = self._reporter.agent_line(pool, capsule, line) if ours else self._reporter.worker_line(capsule, line)
            if said is not None:
                logbook.add(pool, capsule, log_lines.encode(said).decode().rstrip("\n"))

        self._capsules = Capsules(control_plane.address, root, self.wake, on_line, self._environment, self._token_file)
        self._fleet = Fleet(control_plane.address, self.wake, Token(self._token_file))
        self._fleet.set_pools(pool_settings(local.pool) for local in self._pools.values())
        tasks = [asyncio.create_task(self._fleet.run(), name="sync"), asyncio.create_task(self._greet(), name="greeting")]
        if (listener := self._door.listener) is not None:
            own = Gateway(listener, control_plane.address, self._token_file, self._reporter.gateway_line, self._reporter.say)
            tasks.append(asyncio.create_task(own.run(), name="gateway"))
        tasks += [asyncio.create_task(self._watch_pool(local), name=f"watch of {name}") for name, local in self._pools.items()]
        try:
            await self._until(self.stop)
            await self._drain()
        finally:
            await self._capsules.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until(self, end: asyncio.Event) -> None:
        while not end.is_set():
            self._changed.clear()
            wait = min((self._reconcile(local) for local in self._pools.values()), default=RESYNC_SECONDS)
            if all(self._is_complete(local) for local in self._pools.values()):
                self._complete.set()
            await _first(self._changed, end, timeout=wait)

    def _reconcile(self, local: LocalPool) -> float:
        """One pass over one pool; returns how long the next may take."""
        view = self._fleet.view(local.name)
        todo = plan(local.pool, self._observe(local, view), time.time())
        self._carry_out(local, todo)
        self._reporter.pool(local.name, view)
        return min(RESYNC_SECONDS, todo.requeue_after or RESYNC_SECONDS)

    def _observe(self, local: LocalPool, view: FleetView | None) -> Observed:
        known = view.capsules if view else {}
        ready = {name for name, capsule in known.items() if capsule.live and capsule.ready_workers}
        return Observed(tuple(each.view(each.name in ready) for each in self._capsules.of(local.name)), view)

    def _carry_out(self, local: LocalPool, todo: Plan) -> None:
        self._fleet.put(pool_settings(local.pool), todo.drains)
        for deletion in todo.deletions:
            self._reporter.deleted(deletion.name, deletion.reason, deletion.message)
            self._capsules.delete(deletion.name)
        for creation in todo.creations:
            self._reporter.created(creation.name, local.pool.spec.worker.adapter)
            self._capsules.create(local, creation)

    async def _drain(self) -> None:
        """Running calls may finish, within the pools' own bounds, or until somebody is in a hurry."""
        self._reporter.say("stopping: running calls may finish; Ctrl-C again stops at once", "yellow")
        for local in self._pools.values():
            for capsule in self._capsules.of(local.name):
                self._capsules.delete(capsule.name)
        while not self._capsules.are_gone and not self.hurry.is_set():
            self._changed.clear()
            await _first(self._changed, self.hurry, timeout=RESYNC_SECONDS)

    async def _stop_control_plane(self, control_plane: Running) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await control_plane.stop(linger=0.0, drain=0.0)

    async def _greet(self) -> None:
        """Say once that all is ready, with a command to try."""
        await self._complete.wait()
        tools = {}
        async with self._client() as client:
            for name, local in self._pools.items():
                tools[name] = await _tools(client, name) if desired(local.pool.spec) else []
        needy = {name: needy_tools(adapter_source(local)) for name, local in self._pools.items()}
        self._reporter.ready(self.control_plane.address, self._door.url, tools, needy, tokens=self._token_file is not None)

    def _is_complete(self, local: LocalPool) -> bool:
        view = self._fleet.view(local.name)
        spec = local.pool.spec
        per_capsule = spec.worker.processes if spec.worker.profile == "process" else 1
        return view is not None and view.ready_workers >= desired(spec) * per_capsule

    async def _watch_pool(self, local: LocalPool) -> None:
        """Changed code replaces the workers, successors first; broken code replaces nothing. A changed pool file is only said.

        A pool that fails is watched even if nobody asked for that: whoever mends it need not start everything again.
        """
        before: Snapshot | None = await asyncio.to_thread(sources, local.folder)
        spec_before = state_of(local.file)
        pause = WATCH_SECONDS
        reload: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(pause)
                if not self._watch and not self._fails(local.name):
                    before = None
                    continue
                began = time.monotonic()
                now, spec = await asyncio.to_thread(sources, local.folder), state_of(local.file)
                pause = max(WATCH_SECONDS, 10 * (time.monotonic() - began))
                if spec and spec != spec_before:
                    spec_before = spec
                    said = f"pool {local.name}: {local.file.name} has changed: start `snakepit dev` again to run that"
                    self._reporter.say(said, "yellow")
                before, known = now, before or now
                if now == known:
                    continue
                changed = [path for path, state in now.items() if known.get(path) != state]
                if problem := await asyncio.to_thread(broken, changed):
                    self._reporter.say(f"pool {local.name}: its code is broken, so its workers stay as they are: {problem}", "red")
                    continue
                if reload is not None:
                    reload.cancel()
                reload = asyncio.create_task(self._reload(local.name, began), name=f"reload of {local.name}")
        finally:
            if reload is not None:
                reload.cancel()

    def _fails(self, pool: str) -> bool:
        """Has it capsules, and no worker that serves?"""
        view = self._fleet.view(pool)
        return bool(self._capsules.of(pool)) and not (view and view.ready_workers)

    async def _reload(self, name: str, began: float) -> None:
        """Replace workers until none of the old code serves. Why one of the new code can't start, its agent says."""
        self._reporter.reloading(name)
        self._capsules.renew_code(name)
        try:
            async with self._client() as client:
                pool, old = client.pool(name), set()
                for worker in await pool.workers():
                    old.add(worker.incarnation)
                    await pool.recycle_worker(worker.id)
                while not _is_new(await pool.workers(), old):  # noqa: ASYNC110  # it changes at the control plane
                    await asyncio.sleep(RELOAD_SECONDS)
        except SnakepitError as error:
            self._reporter.say(f"pool {name}: its workers can't be replaced: {error}", "red")
        else:
            self._reporter.reloaded(name, time.monotonic() - began)


async def run(pools: Sequence[LocalPool], settings: Settings, door: Door, *, watch: bool, terminal: str) -> int:
    """A machine on the terminal, until a signal comes; a second one cuts the drain short. Returns the exit status."""
    reporter = Reporter(Console(highlight=False), json=os.environ.get("SNAKEPIT_LOG_FORMAT") == "json")
    machine = Machine(pools, settings, reporter, door=door, watch=watch, terminal=terminal)
    signals: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        signals.append(number)
        (machine.hurry if len(signals) > 1 else machine.stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    await machine.run()
    return INTERRUPTED if signals and signals[0] is signal.SIGINT else 0


def _is_new(workers: Sequence[WorkerInfo], old: Set[str]) -> bool:
    """Each place is taken by a worker that was not there before; those that are finishing their calls don't count."""
    serving = [each for each in workers if each.state != "draining"]
    return bool(serving) and all(each.state == "ready" and each.incarnation not in old for each in serving)


async def _first(*events: asyncio.Event, timeout: float) -> None:
    """Wait until one of them is set, or the time is over."""
    waiting = [asyncio.create_task(each.wait()) for each in events]
    await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _tools(client: Client, name: str) -> list[ToolInfo]:
    try:
        return await client.pool(name).tools()
    except SnakepitError:
        return []  # only the command to try is missing then
