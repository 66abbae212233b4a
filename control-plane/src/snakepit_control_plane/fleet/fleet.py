"""Pools and agents as they come and go: settings, links, heartbeats, losses. Routes no call itself.

Whatever waits for the store runs beside the links: an agent is served from settings that came with its hello while the store is away.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Sequence

from snakepit._telemetry.metrics.control_plane import WORKER_RECYCLES
from snakepit._wire.channels import FORGET_SECONDS
from snakepit._wire.messages import settings_digest
from snakepit.errors import InvalidArguments, PermissionDenied, PoolNotFound
from snakepit.spec.fields import NAME_PATTERN
from snakepit.v1 import link_pb2, pool_pb2
from snakepit_control_plane.fleet.monitor import LOOKS_SECONDS, Monitor
from snakepit_control_plane.fleet.roster import Roster
from snakepit_control_plane.fleet.standing import Standing
from snakepit_control_plane.flow.agents import Send
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.demand import SAMPLE_SECONDS, Ticker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.admission import pool_deleted
from snakepit_control_plane.store.interface import Store

REMEMBERED_SECONDS = FORGET_SECONDS - 5.0
"""An agent that was heard of more recently has forgotten nothing that it did for this replica, however slow the link was."""

COUNT_SECONDS = 0.25
"""So often pools are looked at for how many calls run and wait; that others do than before is news."""

RECYCLED = frozenset(WORKER_RECYCLES.values["reason"])
"""Why workers are recycled: what an agent may make a label of."""

_NAME = NAME_PATTERN.strip("^$")
_POOL = re.compile(f"{_NAME}/{_NAME}")

log = logging.getLogger(__name__)


class Changes:
    """Something about a pool, or about all of them, is different from what it was: wakes everybody who waits for it."""

    def __init__(self) -> None:
        self.count = 0
        self._whole = 0
        self._pools: dict[str, int] = {}
        """Of each pool, how many changes there were when it changed last."""
        self._next = asyncio.Event()

    def tell(self, pool: str = "") -> None:
        """Wake everybody who waits. Empty: no one knows of which pool it is, or it is gone."""
        self.count += 1
        if pool:
            self._pools[pool] = self.count
        else:
            self._whole = self.count
            self._pools.clear()
        self._next.set()
        self._next = asyncio.Event()

    async def wait_beyond(self, seen: int) -> None:
        """Wait until there have been more changes than `seen`."""
        while self.count == seen:
            await self._next.wait()

    def since(self, seen: int) -> list[str] | None:
        """The pools that have changed since then; None: perhaps any."""
        return None if self._whole > seen else [name for name, count in self._pools.items() if count > seen]


class Fleet:
    """All pools of this replica, and every agent that has linked to it."""

    def __init__(self, flow: Flow, store: Store) -> None:
        self.flow = flow
        self.store = store
        self.changes = Changes()
        self.roster = Roster(flow.pools, store, self._ended_pool, self._configured_pool, self.changes.tell)
        self._counts, self._samples = Ticker(COUNT_SECONDS), Ticker(SAMPLE_SECONDS)
        self.cordoned: frozenset[str] = frozenset()
        self._drained: frozenset[str] = frozenset()
        self._evicted: frozenset[str] = frozenset()
        self.monitor = Monitor(flow, store, self.suspect, self.lose)
        self.standing = Standing(store, self.monitor.renew_all)

    # ---- settings

    def sync(
        self,
        settings: Sequence[link_pb2.PoolSettings],
        *,
        complete: bool,
        drain: Collection[str],
        evicted: Collection[str] = (),
        held: Collection[str] = (),
        names: Collection[str] = (),
    ) -> None:
        """What the operator says, at once and whole; with `complete`, there are no pools but these and those in `names`.

        `drain`: all capsules that end. `evicted`: those of them that others delete. `held`: they get no new calls for now, and may be
        needed again. Each by its pod's uid.
        """
        self.roster.tell(settings, names, complete=complete)
        self._cordon(frozenset(drain), frozenset(evicted), frozenset(held))

    def _ended_pool(self, pool: Pool) -> None:
        pool.is_deleted = True
        for call in pool.queue.everybody():
            self.flow.calls.fail(call, pool_deleted(pool.name))
        for capsule in list(pool.capsules.values()):
            self.drain(capsule)
        self.changes.tell()

    def _configured_pool(self, pool: Pool) -> None:
        """Its capsules are told; those of a pool of its name that was before it are on their way out."""
        self.monitor.begin_anew(pool, self.flow.clock())
        for capsule in list(pool.capsules.values()):
            if capsule.pool_uid == pool.settings.uid:
                self._tell_settings(pool, capsule)
            elif capsule.pool_uid:
                self.drain(capsule)

    def _tell_settings(self, pool: Pool, capsule: Capsule) -> None:
        self.flow.agents.tell(capsule, link_pb2.Frame(settings=pool.settings))

    def _cordon(self, drained: frozenset[str], evicted: frozenset[str], held: frozenset[str]) -> None:
        names, fresh = drained | held, drained - self._drained
        self.cordoned, self._drained, self._evicted = names, drained, evicted
        for pool in self.flow.pools.values():
            for capsule in pool.capsules.values():
                capsule.evicted = capsule.pod_uid in evicted
                if (capsule.pod_uid in names) != capsule.cordoned:
                    capsule.cordoned = capsule.pod_uid in names
                    self._usable(pool, capsule, self.flow.clock())
                if capsule.pod_uid in fresh:
                    self.drain(capsule)

    def drain(self, capsule: Capsule, worker: Worker | None = None, *, recycle: bool = False) -> None:
        """Tell the agent to finish what runs in the capsule, or in one worker, and to stop it."""
        frame = link_pb2.Drain(recycle=recycle)
        if worker is not None:
            frame.worker, frame.incarnation = worker.id, worker.incarnation
        self.flow.agents.tell(capsule, link_pb2.Frame(drain=frame))

    # ---- links

    async def join(self, hello: link_pb2.Hello, send: Send) -> Capsule:
        """An agent has linked. Raises InvalidArguments, PermissionDenied, PoolNotFound, or StaleEpoch for one that was declared lost."""
        about = hello.capsule
        check_capsule(about)
        pool = await self.roster.adopt(about)
        self._check_place(pool, about)
        await self.monitor.check_lease(pool, about)
        if self.flow.pools.get(pool.name) is not pool:
            raise PoolNotFound(f"capsule {about.name} belongs to pool {pool.name!r}, which has just been deleted")
        now = self.flow.clock()
        self._check_place(pool, about)
        for other in [c for c in pool.capsules.values() if c.name == about.name and c.incarnation != about.incarnation]:
            self.lose(pool, other, "its agent was replaced")
        capsule = pool.capsules.get(about.incarnation)
        if capsule is None:
            capsule = Capsule(about.name, about.incarnation, pool.name, about.pod_uid, now)
            pool.capsules[about.incarnation] = capsule
        capsule.pool_uid, capsule.node = about.settings.uid, about.node
        capsule.tells_log_lines = about.tells_log_lines
        self.flow.pools.linked(capsule.incarnation)
        silence = now - capsule.heard
        capsule.heard = now
        capsule.linked = True
        capsule.cordoned, capsule.evicted = about.pod_uid in self.cordoned, about.pod_uid in self._evicted
        capsule.last_beat = now + pool.spec.heartbeat.initial_delay_seconds
        capsule.liveness = pool_pb2.LIVENESS_LIVE
        for worker in capsule.everyone:
            # On a new link the agent tells what is above 0, and what was told on the one before is out of date.
            worker.elsewhere = 0
        self.flow.agents.senders[capsule] = send
        if self._is_behind(pool, about.settings):
            self._tell_settings(pool, capsule)
        self._settle_unlisted(pool, capsule, frozenset(hello.running), now, remembers=silence < REMEMBERED_SECONDS)
        self._cancel_again(capsule)
        if about.pod_uid in self._drained:
            self.drain(capsule)
        self._usable(pool, capsule, now)
        return capsule

    def _is_behind(self, pool: Pool, held: link_pb2.PoolSettings) -> bool:
        """Does an agent go by other settings of this very pool than it should? Without an operator, it may know newer ones than we do."""
        if held.uid != pool.settings.uid or settings_digest(held) == pool.digest:
            return False
        return self.roster.is_told or held.generation < pool.settings.generation

    def _check_place(self, pool: Pool, about: link_pb2.Capsule) -> None:
        """A capsule that is alive is not taken over by another: neither by its name, nor as another's life. Raises PermissionDenied."""
        if any(about.incarnation in other.capsules for other in self.flow.pools.values() if other is not pool):
            raise PermissionDenied(f"capsule {about.name}: hello.capsule.incarnation is that of another capsule")
        for other in pool.capsules.values():
            same = (other.name, other.pod_uid) == (about.name, about.pod_uid)
            if other.incarnation == about.incarnation and not same:
                raise PermissionDenied(f"capsule {about.name}: hello.capsule.incarnation is that of another capsule")
            if other.name == about.name and not same and other.linked and other.liveness == pool_pb2.LIVENESS_LIVE:
                raise PermissionDenied(
                    f"capsule {about.name} is linked and alive, as a pod of another uid: this one may not take its place"
                )

    def _settle_unlisted(self, pool: Pool, capsule: Capsule, running: frozenset[int], now: float, *, remembers: bool) -> None:
        """The agent lists what it has started; the rest of what this replica had sent goes elsewhere, if the agent `remembers` it all."""
        for call in [capsule.inflight.pop(each) for each in list(capsule.inflight) if each not in running]:
            if remembers:
                self.flow.outcomes.again(pool, call, now)
            else:
                self.flow.outcomes.worker_lost(pool, call, "its agent was away for too long to know what became of it", now)

    def _cancel_again(self, capsule: Capsule) -> None:
        """What the agent still runs of calls that have ended: it may not have heard of that before its link broke."""
        for id_, call in capsule.inflight.items():
            if call.answered:
                self.flow.agents.tell(capsule, link_pb2.Frame(cancel=link_pb2.Cancel(id=id_, reason="CANCELLED")))

    def leave(self, capsule: Capsule, send: Send) -> None:
        """The agent's link has closed. Suspect at once; what it runs is not given up before it is Lost."""
        if self.flow.agents.senders.get(capsule) is not send:
            return
        del self.flow.agents.senders[capsule]
        capsule.linked = False
        pool = self._pool_of(capsule)
        if pool is None:
            self._lose_calls(capsule, "its pool has been deleted, and its agent has gone")  # Which is let in no more.
            return
        if capsule.draining and not capsule.inflight and capsule.has_ended:
            self._gone(pool, capsule, capsule.why_leaving)
            return
        self.suspect(pool, capsule)

    def suspect(self, pool: Pool, capsule: Capsule) -> None:
        """No new calls there; nothing has failed yet."""
        if capsule.liveness == pool_pb2.LIVENESS_LIVE:
            self.flow.telemetry.suspected.add(pool.name)
        capsule.liveness = pool_pb2.LIVENESS_SUSPECT
        self.flow.sessions.unheard(capsule)
        pool.refresh(capsule, self.flow.clock())
        self.changes.tell(pool.name)

    def _pool_of(self, capsule: Capsule) -> Pool | None:
        """None: it has ended, or its pool has, whatever pool of that name there is now."""
        pool = self.flow.pools.get(capsule.pool)
        return pool if pool is not None and pool.capsules.get(capsule.incarnation) is capsule else None

    # ---- what agents say

    def offered(self, capsule: Capsule, offer: link_pb2.Offer) -> None:
        """The agent's word on which tools its workers have."""
        pool = self._pool_of(capsule)
        if pool is None:
            return
        capsule.tools = {tool.name: tool for tool in offer.tools}
        capsule.description = pool.description = offer.description
        self._usable(pool, capsule, self.flow.clock())

    def reported(self, capsule: Capsule, report: link_pb2.Report) -> None:
        """A heartbeat: the truth about the capsule's workers."""
        pool = self._pool_of(capsule)
        if pool is None:
            return
        now = self.flow.clock()
        capsule.heard_at(now)
        capsule.draining, capsule.told_to_drain = report.draining, report.told_to_drain
        capsule.liveness = pool_pb2.LIVENESS_LIVE
        gone = pool.update(capsule, report.workers, now, report.leaving)
        self.roster.reported(pool)
        self._count_recycled(pool, capsule, report)
        self.flow.sessions.workers_gone(pool, gone, now)
        # What changes with each heartbeat, such as ages, is no news.
        workers = ((each.incarnation, each.state, each.reason) for each in report.workers)
        news = (capsule.draining, capsule.told_to_drain, capsule.ready_workers, *workers)
        if news != capsule.said or gone:
            capsule.said = news
            self.changes.tell(pool.name)
        self._go_on(pool, capsule, now)
        if not pool.ready_workers:
            self.flow.calls.give_up_hopeless(pool, now)

    def _count_recycled(self, pool: Pool, capsule: Capsule, report: link_pb2.Report) -> None:
        """The agent counts from its start; what it had counted before this replica knew it is no news."""
        for reason in RECYCLED.intersection(report.recycled):
            count = report.recycled[reason]
            if capsule.reported:
                self.flow.telemetry.recycles.add(pool.name, reason, by=max(0, count - capsule.recycled.get(reason, 0)))
            capsule.recycled[reason] = count
        capsule.reported = True

    def loaded_elsewhere(self, capsule: Capsule, load: link_pb2.Load) -> None:
        """The agent's word on what other replicas have sent to its workers."""
        pool = self._pool_of(capsule)
        now = self.flow.clock()
        for each in load.workers:
            worker = pool.find(each.worker, each.incarnation) if pool is not None else None
            if pool is not None and worker is not None and worker.capsule is capsule:
                worker.elsewhere = max(0, each.elsewhere)
                worker.full = False
                pool.index.place(worker, now)
                self.flow.dispatcher.freed(pool, worker, now)
                self.flow.recalls.slot_free(pool, worker, now)
                self.flow.recalls.crowded(pool, worker, now)

    def _usable(self, pool: Pool, capsule: Capsule, now: float) -> None:
        """The capsule's workers may have become usable: let waiting calls go on."""
        pool.refresh(capsule, now)
        self.changes.tell(pool.name)
        self._go_on(pool, capsule, now)

    def _go_on(self, pool: Pool, capsule: Capsule, now: float) -> None:
        if pool.queue.depth:
            self.flow.sessions.reconsider(pool, capsule, now)
            for worker in [each for each in capsule.everyone if each in pool.queue.pinned]:
                self.flow.dispatcher.freed(pool, worker, now)
            self.flow.dispatcher.pump(pool, now)

    # ---- time

    async def run(self) -> None:
        """Keep in step with the store, and monitor the agents; ends when cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.roster.run(), name="roster")
            _, pause = LOOKS_SECONDS
            while True:
                self.standing.look()
                due = self.flow.clock() + pause
                await asyncio.sleep(pause)
                now = self.flow.clock()
                self.flow.telemetry.lag.look(now, now - due)
                pause = self.monitor.tick(now, now - due)
                self._measure(now)

    def _measure(self, now: float) -> None:
        """Count every pool's calls and sample its demand, when it is time; a call that no worker is there for is told at once."""
        counted, sampled = self._counts.is_due(now), self._samples.is_due(now)
        for pool in self.flow.pools.values():
            news = [counted and pool.count(), sampled and pool.demand.sample(now, pool.busy_slots, pool.queue.depth)]
            if any(news):
                self.changes.tell(pool.name)
            is_short = bool(pool.queue.depth) and not pool.ready_workers
            if is_short and not pool.is_short:
                self.changes.tell(pool.name)
            pool.is_short = is_short

    def lose(self, pool: Pool, capsule: Capsule, how: str) -> None:
        """It is lost for good: what it ran has failed, and it is fenced if it comes back."""
        of = {"pool": pool.name, "capsule": capsule.name}
        log.warning("capsule %s of pool %s is lost: %s", capsule.name, pool.name, how, extra=of)
        self.flow.telemetry.lost.add(pool.name)
        capsule.liveness = pool_pb2.LIVENESS_LOST
        pool.lost.append((capsule.name, capsule.incarnation, capsule.pod_uid))
        self._gone(pool, capsule, "lost")
        self._lose_calls(capsule, f"lost: {how}")

    def _lose_calls(self, capsule: Capsule, how: str) -> None:
        """Nothing more will be heard of what it ran."""
        now, calls = self.flow.clock(), list(capsule.inflight.values())
        capsule.inflight.clear()
        for call in calls:
            if call.pool is not None:
                self.flow.outcomes.worker_lost(call.pool, call, how, now)

    def _gone(self, pool: Pool, capsule: Capsule, why: str) -> None:
        now = self.flow.clock()
        self.flow.agents.senders.pop(capsule, None)
        self.flow.sessions.workers_gone(pool, pool.remove(capsule, why, now), now)
        self.changes.tell(pool.name)

    async def stop(self) -> None:
        """End what asks the store."""
        await self.standing.stop()
        await self.monitor.stop()


def check_capsule(about: link_pb2.Capsule) -> None:
    """Check that an agent says the same throughout, and nothing that is not for it to say. Raises InvalidArguments.

    `pool` and `name` are what its token was checked against: nothing else in the hello may speak of another pool.
    """
    settings = about.settings
    if not _POOL.fullmatch(about.pool):
        raise InvalidArguments(f"hello.capsule.pool is {about.pool[:200]!r}: it must be namespace/name")
    for field, value in (("name", about.name), ("incarnation", about.incarnation)):
        if not value:
            raise InvalidArguments(f"hello.capsule.{field} of an agent of pool {about.pool} is empty")
    if about.HasField("settings") and settings.pool != about.pool:
        raise InvalidArguments(
            f"hello.capsule.settings.pool is {settings.pool[:200]!r}, and hello.capsule.pool {about.pool!r}: they must be the same"
        )
    if settings.deleted:
        raise InvalidArguments(f"hello.capsule.settings.deleted is set: only the operator deletes pool {about.pool}")
