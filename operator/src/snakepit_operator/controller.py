"""The loop of a leading operator: what wakes it, whose turn it is, and a full resync in case nothing did.

What is done with a pool is in `reconcile`, never twice at a time with one. The loop leaves off at once when it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from snakepit._retry import Backoff
from snakepit._wire.token import Token
from snakepit._wire.trust import Trust
from snakepit_operator.authority import Authority
from snakepit_operator.fleet import Fleet, IsShort, OnChange
from snakepit_operator.kube import PODS, POOLS, Kube, KubeError, Object
from snakepit_operator.model import FleetView
from snakepit_operator.pace import Pace
from snakepit_operator.pods import POOL_LABEL
from snakepit_operator.queue import DueQueue
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from snakepit_operator.telemetry import CONFLICT, ERROR, OK, Telemetry
from snakepit_operator.wake import OnWake, until, watch_forever

RESYNC_SECONDS = 30.0
RELIST_SECONDS = 1.0
"""A watch that begins anew may have missed something: everything is listed when none has begun anew for so long."""
RELIST_PAUSES = 4
"""So many of those pauses at most: watches come back one after another, and tell of each object that they list."""
RECONCILE_SECONDS = 60.0
FIRST_ANSWER_SECONDS = 3.0
"""A new leader gives the control plane this long to answer before it calls its state unknown."""
RETRY_SECONDS = Backoff(1.0, 60.0)
_WORKERS = 4

Watch = Callable[[tuple[str, ...], OnWake, Callable[[], Awaitable[None]]], Coroutine[Any, Any, None]]

log = logging.getLogger(__name__)


class Controller:
    """Everything that only the leader does. `beat` is when the loop last came round, by the event loop's clock.

    `now` is the Unix time that decisions go by. `watching` wakes the pools of which it sees a change, as `watch_forever` does.
    """

    def __init__(
        self,
        kube: Kube,
        settings: Settings,
        *,
        fleet: Callable[[OnChange, IsShort], Fleet] | None = None,
        watching: Watch | None = None,
        now: Callable[[], float] = time.time,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._kube = kube
        self._namespaces = settings.watch_namespaces
        self._telemetry = telemetry or Telemetry()
        self._watching = watching or partial(watch_forever, tell=self._telemetry.requested)
        self._now = now
        self._time = asyncio.get_running_loop().time
        self._queue = DueQueue()
        self._pace = Pace()
        self._missed = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._revision = 0
        self._restored = asyncio.Event()
        """Who watches from a version that isn't reached any more is told of nothing: he has to begin anew."""
        address, token = settings.agent.control_plane, Token(settings.token_file)
        make = fleet or (lambda tell, short: Fleet(address, tell, token, is_short=short, trust=Trust()))
        self.fleet = make(self._fleet_changed, self._is_short)
        self.authority = Authority(kube, settings, self._wake_all, now)
        self.reconciler = Reconciler(kube, settings, self.fleet, self.authority, self._telemetry)
        self.beat = self._time()

    async def run(self) -> None:
        """Lead, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.authority.run(), name="authority")
            tasks.create_task(self._follow_replicas(), name="fleet")
            tasks.create_task(self._resync_forever(), name="resync")
            tasks.create_task(self._watch_forever(), name="watch")
            for number in range(_WORKERS):
                tasks.create_task(self._work_forever(), name=f"reconcile {number}")

    async def _follow_replicas(self) -> None:
        await self.authority.known.wait()  # Else each is dialled by an authority that isn't known.
        await self.fleet.run()

    def changed(self, pool: str, version: str = "") -> None:
        """The watch: something has changed about the pool; `version` is its own new one, if it is itself what has. Empty: it lists anew."""
        if not pool:
            self._missed.set()
            return
        self.reconciler.snapshots.changed(pool, version)
        self.wake(pool)

    def wake(self, pool: str, after: float = 0.0) -> None:
        """Look at the pool soon."""
        self._queue.add(pool, after)

    @property
    def waiting(self) -> int:
        """Pools that are due, and nobody looks at yet."""
        return self._queue.waiting

    def _wake_all(self) -> None:
        for pool in self.reconciler.memories:
            self.wake(pool)

    def _fleet_changed(self, pool: str, essential: bool) -> None:
        self.wake(pool, 0.0 if essential else self._pace.after(pool, self._time()))

    def _is_short(self, pool: str, view: FleetView) -> bool:
        return self.reconciler.is_short(pool, view)

    async def _watch_forever(self) -> None:
        while True:
            self._restored.clear()
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watching(self._namespaces, self.changed, partial(until, self._resync)), name="watching")
                await self._restored.wait()
                watching.cancel()

    async def _resync_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESYNC_SECONDS):
                    await self._quiet()
            self._missed.clear()
            await self._resync()

    async def _quiet(self) -> None:
        """Watches have begun anew, and no more of them do."""
        await self._missed.wait()
        for _ in range(RELIST_PAUSES):
            self._missed.clear()
            await asyncio.sleep(RELIST_SECONDS)
            if not self._missed.is_set():
                break

    async def _resync(self) -> bool:
        """Whether all pools could be listed."""
        self.beat = self._time()
        before = self.reconciler.seen()
        try:
            revision = await self._kube.revision(POOLS, next(iter(self._namespaces), None))
            pools = [each for namespace in self._namespaces or (None,) for each in await self._kube.list(POOLS, namespace)]
            pods = [each for namespace in self._namespaces or (None,) for each in await self._kube.list(PODS, namespace, POOL_LABEL)]
        except KubeError as error:
            log.warning("pools could not be listed (is the CRD installed?): %s", error)
            return False
        if revision < self._revision:
            log.warning("the API server's versions go back from %d to %d, as if it was restored: watching anew", self._revision, revision)
            self._restored.set()
        self._revision = revision
        found = {f"{each['metadata']['namespace']}/{each['metadata']['name']}": each for each in pools}
        theirs: dict[str, list[Object]] = {}
        for each in pods:
            theirs.setdefault(f"{each['metadata']['namespace']}/{each['metadata']['labels'][POOL_LABEL]}", []).append(each)
        self.reconciler.listed(found, theirs, before)
        for name in found:
            self.wake(name)
        return True

    async def _work_forever(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER_SECONDS):
                await self.authority.known.wait()  # Else the first pods would wait for the ConfigMap, by the kubelet's growing pauses.
                await self.fleet.heard.wait()
        while True:
            pool = await self._queue.take()
            try:
                after = await self._guarded(pool)
                if after is not None:
                    self.wake(pool, after)
            finally:
                asyncio.get_running_loop().call_later(self.reconciler.rest(pool), self._queue.done, pool)

    async def _guarded(self, pool: str) -> float | None:
        """Reconcile once; when to do it again: after a failure, ever later."""
        began, outcome = self._time(), ""  # It stays so where it is cancelled, as there is another leader.
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                after = await self.reconciler.reconsider(pool, self._now())
        except (KubeError, TimeoutError, msgspec.ValidationError) as error:
            why = str(error) or type(error).__name__
            outcome = CONFLICT if isinstance(error, KubeError) and error.conflict else ERROR
        except Exception as error:  # a fault of ours in one pool must not stop the others
            log.exception("reconciling %s failed", pool, extra={"pool": pool})
            why, outcome = repr(error), ERROR
        else:
            outcome = OK
            self._failures.pop(pool, None)
            return after
        finally:
            if outcome:
                self._telemetry.looked(outcome, self._time() - began)
        attempt = self._failures[pool] = self._failures.get(pool, 0) + 1
        pause = RETRY_SECONDS.seconds(attempt) * (0.5 + random.random() / 2)
        log.warning("reconciling %s: %s; again in %.1f s", pool, why, pause, extra={"pool": pool})
        return pause
