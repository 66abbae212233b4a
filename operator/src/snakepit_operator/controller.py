"""The loop of a leading operator: what wakes it, one reconcile at a time per pool, and a full resync in case nothing did.

Each step is elsewhere: `observe`, `plan`, `apply`, `status`, `events`. It leaves off at once when it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Iterable, Mapping

import msgspec

from snakepit._retry import Backoff
from snakepit._wire.token import Token
from snakepit.spec.fields import SnakePool, SnakePoolStatus
from snakepit.v1 import link_pb2
from snakepit_operator import pods
from snakepit_operator.apply import Applier
from snakepit_operator.claims import Claims
from snakepit_operator.events import Announcer, Happening, happenings, recycled
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import POOLS, Kube, KubeError, Object
from snakepit_operator.model import FleetView, Observed, Outcome, Plan
from snakepit_operator.observe import observe
from snakepit_operator.plan import plan
from snakepit_operator.queue import DueQueue
from snakepit_operator.reasons import Reason
from snakepit_operator.refusals import Refusals
from snakepit_operator.settings import Settings
from snakepit_operator.status import status
from snakepit_operator.views import pool_view
from snakepit_operator.wake import watch_forever

RESYNC_SECONDS = 30.0
DEFINED_SECONDS = 2.0
"""While the CRD is missing, it is looked for this often."""
RECONCILE_SECONDS = 60.0
FIRST_ANSWER_SECONDS = 3.0
"""A new leader gives the control plane this long to answer before it calls its state unknown."""
COUNTS_SECONDS = 5.0
"""Changes of mere counts reach the status within this time."""
CONFIRM_SECONDS = 0.5
"""New settings are with every replica within this time, or the status says that they aren't yet."""
BUDGET_SECONDS = 300.0
RETRY_SECONDS = Backoff(1.0, 60.0)
OTHERS_SECONDS = 1800.0
"""That a pool is another release's is said this often: the API server forgets Events after an hour."""
_WORKERS = 4

log = logging.getLogger(__name__)


class Controller:
    """Everything that only the leader does. `beat` is when the loop last came round (monotonic)."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self._kube = kube
        self._settings = settings
        self._queue = DueQueue()
        self._added = asyncio.Event()
        self._known: dict[str, link_pb2.PoolSettings] = {}
        self._failures: dict[str, int] = {}
        self._budgets: dict[str, tuple[int, float]] = {}
        self._seen: dict[str, FleetView] = {}
        self._refusals = Refusals()
        self._ending: dict[str, str] = {}
        """Pools in a namespace that is being deleted, with the uid of each."""
        self._fleet = Fleet(settings.agent.control_plane, self._fleet_changed, Token(settings.token_file))
        self._applier = Applier(kube, self._fleet, settings.agent)
        self._announcer = Announcer(kube)
        self._claims = Claims(kube, f"{settings.namespace}/{settings.lease_name}")
        self._others: dict[str, float] = {}
        """Pools of other releases, and when that was said (monotonic)."""
        self.beat = time.monotonic()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fleet.run(), name="fleet")
            tasks.create_task(self._resync_forever(), name="resync")
            tasks.create_task(watch_forever(self._settings.watch_namespaces, self.wake, self._until_defined), name="watch")
            for number in range(_WORKERS):
                tasks.create_task(self._work_forever(), name=f"reconcile {number}")

    def wake(self, pool: str, after: float = 0.0) -> None:
        """Look at the pool soon."""
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
            await asyncio.sleep(RESYNC_SECONDS if self._known else 5.0)

    async def _resync(self) -> None:
        found: dict[str, link_pb2.PoolSettings] = {}
        before = dict(self._known)
        for namespace in self._settings.watch_namespaces or (None,):
            for raw in await self._kube.list(POOLS, namespace):
                name = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
                if settings := self._settings_of(raw, name):
                    found[name] = settings
                self.wake(name)
        found = with_later_looks(found, before, self._known)
        for gone in self._known.keys() - found.keys():
            self._forget(gone)
        self._known = found
        self._fleet.set_pools(found.values())

    def _settings_of(self, raw: Object, name: str) -> link_pb2.PoolSettings | None:
        """None: the pool is going, or another release's. One that can't be read keeps what is known of it."""
        if raw["metadata"].get("deletionTimestamp") or self._claims.is_others((raw.get("status") or {}).get("release")):
            return None
        try:
            return pool_settings(pool_view(raw))
        except msgspec.ValidationError as error:
            log.error("pool %s can't be read by this version of the operator: %s", name, error)
            return self._known.get(name)

    def _forget(self, pool: str) -> None:
        self._fleet.forget(pool)
        self._refusals.forget(pool)
        for memory in (self._known, self._failures, self._budgets, self._seen, self._ending, self._applier.deleted):
            memory.pop(pool, None)

    async def _work_forever(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER_SECONDS):
                await self._fleet.heard.wait()
        while True:
            pool = self._queue.take(time.monotonic())
            if pool is None:
                await self._wait()
                continue
            try:
                self.wake_again(pool, await self._guarded(pool))
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

    def wake_again(self, pool: str, after: float | None) -> None:
        """Look again after that time, if one is given."""
        if after is not None:
            self.wake(pool, after)

    async def _guarded(self, pool: str) -> float | None:
        """One reconcile; a failure is retried ever later."""
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                after = await self.reconcile(pool)
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

    async def reconcile(self, name: str) -> float | None:
        """Observe, decide, act, report; when to look again. Raises KubeError."""
        namespace, _, short = name.partition("/")
        deleted, now = self._applier.deleted.get(name, set()), time.time()
        sight = await observe(self._kube, self._fleet, self._settings.agent, namespace, short, deleted, now)
        if sight is None:
            self._forget(name)
            self._others.pop(name, None)
            return None
        pool = sight.pool
        holder = await self._claims.holder(namespace, short, sight.status.get("release"), sight.version)
        if holder != self._claims.me:
            await self._leave(name, pool, holder)
            return None
        problem = pods.problem(pool.spec)
        todo = decide(pool, sight.observed, now, problem)
        if sight.again is not None:
            todo = msgspec.structs.replace(todo, requeue_after=sooner(todo.requeue_after, max(0.1, sight.again)))
        if todo.creations and (held := self._refusals.held(name, pool, now)):
            problem, todo = held.problem, without_creations(todo, held.until - now)
        self._known[name] = pool_settings(pool)
        deleted &= {pod.uid for pod in sight.observed.pods}
        news = self._fleet.put(self._known[name], todo.drains, todo.evicted)
        if self._ending.get(name) == pool.metadata.uid:
            return None
        try:
            done = await self._applier.carry_out(pool, todo)
            await self._keep_budget(name, pool)
        except KubeError as error:
            if not error.ending:
                raise
            log.info("pool %s: its namespace is being deleted; no more capsules are made", name)
            self._ending[name] = pool.metadata.uid
            return None
        observed = msgspec.structs.replace(sight.observed, fleet=await self._confirmed(name, wait=news))
        after = status(pool, observed, todo, now, done.refusal or problem)
        after = msgspec.structs.replace(after, release=holder)
        await self._report(pool, sight.status, after, done, self._news(name, observed.fleet))
        return self._again(name, pool, todo, done, now)

    async def _leave(self, name: str, pool: SnakePool, holder: str) -> None:
        """Another release looks after the pool: say so, now and then, and leave it alone."""
        self._forget(name)
        now = time.monotonic()
        if now - self._others.get(name, -OTHERS_SECONDS) < OTHERS_SECONDS:
            return
        self._others[name] = now
        log.warning("pool %s is left alone: the operator with the Lease %s looks after it", name, holder)
        said = f"The operator with the Lease {holder} looks after this pool, the one with {self._claims.me} leaves it alone"
        then = "let only one of the two watch this namespace (watchNamespaces)"
        await self._announcer.announce(pool, [Happening("Warning", Reason.ANOTHER_RELEASE, f"{said}: {then}")])

    async def _confirmed(self, name: str, *, wait: bool) -> FleetView | None:
        """The pool as it is now; of new settings, when the replicas have confirmed them, if they do so soon."""
        if wait and self._fleet.view(name) is not None:
            await self._fleet.flushed(CONFIRM_SECONDS)
        return self._fleet.view(name)

    def _again(self, name: str, pool: SnakePool, todo: Plan, done: Outcome, now: float) -> float | None:
        """When to look again: what was refused is not asked for before its time."""
        if done.refusal is None:
            if todo.creations:
                self._refusals.forget(name)
            return todo.requeue_after
        until = self._refusals.refused(name, pool, now, done.refusal).until
        return sooner(todo.requeue_after, until - now)

    async def _report(self, pool: SnakePool, before: Object, after: SnakePoolStatus, done: Outcome, news: Iterable[Happening]) -> None:
        await self._applier.status(pool, before, after)
        await self._announcer.announce(pool, [*happenings(pool.status, after, done), *news])

    def _news(self, name: str, fleet: FleetView | None) -> list[Happening]:
        """What the control plane's counts have to tell since they were looked at last."""
        if fleet is None:
            return []
        before, self._seen[name] = self._seen.get(name), fleet
        return list(recycled(before, fleet))

    async def _keep_budget(self, name: str, pool: SnakePool) -> None:
        generation, written = self._budgets.get(name, (-1, 0.0))
        now = time.monotonic()
        if generation != pool.metadata.generation or now - written > BUDGET_SECONDS:
            await self._applier.budget(pool)
            self._budgets[name] = (pool.metadata.generation, now)


def with_later_looks(
    listed: Mapping[str, link_pb2.PoolSettings], before: Mapping[str, link_pb2.PoolSettings], known: Mapping[str, link_pb2.PoolSettings]
) -> dict[str, link_pb2.PoolSettings]:
    """The pools of a list, but as a look at one alone has it that came after the list was begun: else a list would undo newer edits."""
    looked_at = {name for name in before.keys() | known.keys() if known.get(name) is not before.get(name)}
    return {
        **{name: each for name, each in listed.items() if name not in looked_at},
        **{name: known[name] for name in looked_at & known.keys()},
    }


def decide(pool: SnakePool, observed: Observed, now: float, problem: tuple[str, str] | None) -> Plan:
    """The plan; where no pod can be made of the spec, the pods of earlier specs stay and only surplus ones go."""
    if problem is None:
        return plan(pool, observed, now)
    rollout = msgspec.structs.replace(pool.spec.rollout, paused=True)
    frozen = msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, rollout=rollout))
    return msgspec.structs.replace(plan(frozen, observed, now), creations=())


def without_creations(todo: Plan, again: float) -> Plan:
    """The plan without its new pods, and with another look after that time."""
    return msgspec.structs.replace(todo, creations=(), requeue_after=sooner(todo.requeue_after, again))


def sooner(one: float | None, other: float) -> float:
    """The shorter of two pauses; None is no pause at all."""
    return other if one is None else min(one, other)


def pool_settings(pool: SnakePool) -> link_pb2.PoolSettings:
    """What the control plane gets to know of a pool."""
    metadata = pool.metadata
    return link_pb2.PoolSettings(
        pool=f"{metadata.namespace}/{metadata.name}",
        uid=metadata.uid,
        generation=metadata.generation,
        spec=pods.settings_json(pool.spec),
    )
