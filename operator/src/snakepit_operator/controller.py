"""The loop of a leading operator: what wakes it, whose turn it is, and a full resync in case nothing did.

What is done with a pool is in `reconcile`, never twice at a time with one. The loop leaves off at once when it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time

import msgspec

from snakepit._retry import Backoff
from snakepit_operator.kube import POOLS, Kube, KubeError
from snakepit_operator.queue import DueQueue
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from snakepit_operator.wake import watch_forever

RESYNC_SECONDS = 30.0
DEFINED_SECONDS = 2.0
"""While the CRD is missing, it is looked for this often."""
RECONCILE_SECONDS = 60.0
FIRST_ANSWER_SECONDS = 3.0
"""A new leader gives the control plane this long to answer before it calls its state unknown."""
COUNTS_SECONDS = 5.0
"""Changes of mere counts reach the status within this time."""
RETRY_SECONDS = Backoff(1.0, 60.0)
_WORKERS = 4

log = logging.getLogger(__name__)


class Controller:
    """Everything that only the leader does. `beat` is when the loop last came round (monotonic)."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self._kube = kube
        self._namespaces = settings.watch_namespaces
        self._queue = DueQueue()
        self._added = asyncio.Event()
        self._failures: dict[str, int] = {}
        self.reconciler = Reconciler(kube, settings, self._fleet_changed)
        self.beat = time.monotonic()

    async def run(self) -> None:
        """Lead, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.reconciler.fleet.run(), name="fleet")
            tasks.create_task(self._resync_forever(), name="resync")
            tasks.create_task(watch_forever(self._namespaces, self.wake, self._until_defined), name="watch")
            for number in range(_WORKERS):
                tasks.create_task(self._work_forever(), name=f"reconcile {number}")

    def wake(self, pool: str, after: float = 0.0) -> None:
        """Reconcile the pool soon."""
        self._queue.add(pool, time.monotonic() + after)
        self._added.set()

    def _fleet_changed(self, pool: str, essential: bool) -> None:
        self.wake(pool, 0.0 if essential else COUNTS_SECONDS)

    async def _until_defined(self) -> None:
        """Return when there are SnakePools."""
        while True:
            try:
                if await self._kube.serves(POOLS):
                    return
            except KubeError as error:
                log.warning("the API server could not be asked for SnakePools: %s", error)
            await asyncio.sleep(DEFINED_SECONDS)

    async def _resync_forever(self) -> None:
        while True:
            try:
                await self._resync()
            except KubeError as error:
                log.warning("pools could not be listed (is the CRD installed?): %s", error)
            self.beat = time.monotonic()
            await asyncio.sleep(RESYNC_SECONDS if self.reconciler.known else 5.0)

    async def _resync(self) -> None:
        found, before = {}, dict(self.reconciler.known)
        for namespace in self._namespaces or (None,):
            for raw in await self._kube.list(POOLS, namespace):
                name = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
                if settings := self.reconciler.settings_of(raw, name):
                    found[name] = settings
                self.wake(name)
        self.reconciler.listed(found, before)

    async def _work_forever(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER_SECONDS):
                await self.reconciler.fleet.heard.wait()
        while True:
            pool = self._queue.take(time.monotonic())
            if pool is None:
                await self._wait()
                continue
            try:
                after = await self._guarded(pool)
                if after is not None:
                    self.wake(pool, after)
            finally:
                self._queue.done(pool)
                self._added.set()

    async def _wait(self) -> None:
        self._added.clear()
        due = self._queue.next_due()
        pause = RESYNC_SECONDS if due is None else max(0.0, due - time.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._added.wait()

    async def _guarded(self, pool: str) -> float | None:
        """Reconcile once; when to do it again: after a failure, ever later."""
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                after = await self.reconciler.reconcile(pool)
        except (KubeError, TimeoutError, msgspec.ValidationError) as error:
            return self._failed(pool, str(error) or type(error).__name__)
        except Exception:  # a fault of ours in one pool must not stop the others
            log.exception("reconciling %s failed", pool)
            return self._failed(pool, "")
        self._failures.pop(pool, None)
        return after

    def _failed(self, pool: str, why: str) -> float:
        attempt = self._failures[pool] = self._failures.get(pool, 0) + 1
        pause = RETRY_SECONDS.seconds(attempt) * (0.5 + random.random() / 2)
        if why:
            log.warning("reconciling %s: %s; again in %.1f s", pool, why, pause)
        return pause
