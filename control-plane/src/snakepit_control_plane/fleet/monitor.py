"""The monitor of agents: it renews the leases of those that are heard, and acts on what `liveness` says of those that are not.

Lost counts when the store agrees, so that two replicas never differ. A store that is away makes nobody lost, nor does one that comes
back with leases that nobody could renew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence

from snakepit._tasks import Tasks
from snakepit._wire import LinkClosed
from snakepit._wire.silence import LOOK_SECONDS
from snakepit.errors import StaleEpoch, StoreUnavailable
from snakepit.v1 import link_pb2, pool_pb2
from snakepit_control_plane.fleet.liveness import Sign, Stalls, judge_pool, missed
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.store.interface import Store

FENCE_SECONDS = 600.0
DOUBT_SECONDS = 1.0
"""Between two questions to the store whether an agent is lost that another replica hears."""
LOOKS_SECONDS = 0.01, 0.25
"""Between two looks at all agents: at least, and at most. In between, one comes when the next agent has been silent for too long."""

_PING = link_pb2.Frame(ping=link_pb2.Ping())

log = logging.getLogger(__name__)


class Monitor:
    """Looks after every agent of this replica. Its owner calls `tick` by its own clock.

    `suspect` hears of an agent that is to get no new calls, `lose` of one that is lost for good, with a word on why.
    """

    def __init__(
        self, flow: Flow, store: Store, suspect: Callable[[Pool, Capsule], None], lose: Callable[[Pool, Capsule, str], None]
    ) -> None:
        self._flow = flow
        self._store = store
        self._suspect = suspect
        self._lose = lose
        self._stalls = Stalls()
        self._renewed: dict[str, float] = {}
        self._tasks = Tasks()

    async def check_lease(self, pool: Pool, about: link_pb2.Capsule) -> None:
        """Raises StaleEpoch for an agent that was declared lost. The store being away refuses nobody."""
        try:
            lost = await self._store.renew_leases(pool.name, {about.incarnation: pool.spec.heartbeat.timeout_seconds})
        except StoreUnavailable:
            pool.store_away_at = self._flow.clock()
            return
        if lost:
            raise StaleEpoch(f"capsule {about.name} ({about.incarnation}) was declared lost: start its agent again")

    def begin_anew(self, pool: Pool, now: float) -> None:
        """Silence means something else in that pool from now on, and leases have another term."""
        self._renewed.pop(pool.name, None)
        for capsule in pool.capsules.values():
            if capsule.linked:
                capsule.last_beat = max(capsule.last_beat, now)

    def tick(self, now: float, late: float) -> float:
        """Judge every agent, and renew the leases of those that were heard. The owner's clock is `late` by so much.

        Returns the seconds until it should be called again.
        """
        judges, (least, pause) = self._stalls.look(now, late), LOOKS_SECONDS
        for pool in self._flow.pools.values():
            if judges:
                pause = min(pause, self._judge(pool, now))
            self._renew(pool, now)
        return max(least, pause)

    def _judge(self, pool: Pool, now: float) -> float:
        """Returns the seconds until the next of its agents will have been silent for too long."""
        if self._store.problem:
            pool.store_away_at = now
        capsules = list(pool.capsules.values())
        held_for = max(0.0, now - pool.held_since)
        signs = [Sign(self._listened(c.last_beat, now), c.linked, self._unanswered(c, now)) for c in capsules]
        verdicts, hold = judge_pool(signs, pool.spec.heartbeat, held_for, now - pool.held_last)
        if hold and not pool.silence_held:
            silent = sum(verdict != pool_pb2.LIVENESS_LIVE for verdict in verdicts)
            told = "%s of the %s capsules of pool %s are silent at once: none is declared lost for it"
            log.warning(told, silent, len(capsules), pool.name, extra={"pool": pool.name})
        pool.silence_held = hold
        if hold:
            pool.held_last = now
        pool.held_since = min(pool.held_since, now) if hold else pool.held_since if held_for and _any_silent(verdicts) else float("inf")
        for capsule, sign, verdict in zip(capsules, signs, verdicts, strict=True):
            self._count_missed(pool, capsule, sign.silence)
            if verdict != pool_pb2.LIVENESS_LIVE and capsule.liveness == pool_pb2.LIVENESS_LIVE:
                self._suspect(pool, capsule)
            if verdict == pool_pb2.LIVENESS_LOST and not capsule.doubted and pool.trusts_leases(now):
                capsule.doubted = True
                self._tasks.spawn(self._ask_whether_lost(pool, capsule))
        timeout = pool.spec.heartbeat.timeout_seconds
        return min((timeout - sign.silence for sign in signs if sign.silence < timeout), default=timeout)

    def _count_missed(self, pool: Pool, capsule: Capsule, silence: float) -> None:
        before, capsule.missed = capsule.missed, missed(silence, pool.spec.heartbeat)
        if capsule.missed > before:
            self._flow.telemetry.missed.add(pool.name, by=capsule.missed - before)

    def _listened(self, since: float, now: float) -> float:
        """For how many seconds since then."""
        return now - since - self._stalls.since(since)

    def _unanswered(self, capsule: Capsule, now: float) -> float:
        """For how long it has left a question unanswered. It is asked when it holds calls and has said nothing for a moment."""
        if capsule.asked > capsule.heard:
            return self._listened(capsule.asked, now)
        if capsule.inflight and now - capsule.heard >= LOOK_SECONDS and (send := self._flow.agents.senders.get(capsule)) is not None:
            capsule.asked = now
            with contextlib.suppress(LinkClosed):
                send(_PING)
        return 0.0

    async def _ask_whether_lost(self, pool: Pool, capsule: Capsule) -> None:
        """Again at the end of its lease, where another replica has heard it later than this one."""
        heard = capsule.last_beat
        while (left := await self._declare_lost(pool, capsule)) > 0:
            await asyncio.sleep(min(left, DOUBT_SECONDS) + LOOKS_SECONDS[0])
            if capsule.last_beat != heard or pool.silence_held or not pool.trusts_leases(self._flow.clock()):
                break
        capsule.doubted = False

    async def _declare_lost(self, pool: Pool, capsule: Capsule) -> float:
        """Returns for how long it can't be yet."""
        try:
            left = await self._store.declare_lost(pool.name, capsule.incarnation, FENCE_SECONDS)
        except StoreUnavailable as error:
            pool.store_away_at = self._flow.clock()
            of = {"pool": pool.name, "capsule": capsule.name}
            log.warning("capsule %s is silent, but not declared lost: %s", capsule.name, error, extra=of)
            return DOUBT_SECONDS
        if pool.capsules.get(capsule.incarnation) is not capsule:
            return 0.0
        if not left:
            self._lose(pool, capsule, f"not heard of for {pool.spec.heartbeat.timeout_seconds:g} s")
        return left

    def _renew(self, pool: Pool, now: float) -> None:
        """Often enough that a lease never ends between two heartbeats."""
        since, heartbeat = self._renewed.get(pool.name, 0.0), pool.spec.heartbeat
        timeout, interval = heartbeat.timeout_seconds, heartbeat.interval_seconds
        if now - since < min(interval, (timeout - interval) / 2):
            return
        self._renewed[pool.name] = now
        if seconds := self._heard(pool, now, since):
            self._tasks.spawn(self._renew_leases(pool, seconds))

    def _heard(self, pool: Pool, now: float, since: float) -> dict[str, float]:
        """The linked agents that were heard since then, by incarnation, with the seconds for which they count as alive."""
        timeout, heard = pool.spec.heartbeat.timeout_seconds, [c for c in pool.capsules.values() if c.linked and c.last_beat >= since]
        return {c.incarnation: left for c in heard if (left := timeout - self._listened(c.last_beat, now)) > 0}

    async def renew_all(self) -> bool:
        """Whether the store has said which of the agents that are heard were declared lost by others; those are lost now."""
        began, pools = self._flow.clock(), list(self._flow.pools.values())
        heard = [(pool, self._heard(pool, began, 0.0)) for pool in pools]
        await asyncio.gather(*[self._renew_leases(pool, seconds) for pool, seconds in heard if seconds])
        return all(pool.store_away_at < began for pool in pools)

    async def _renew_leases(self, pool: Pool, seconds: Mapping[str, float]) -> None:
        try:
            lost = await self._store.renew_leases(pool.name, seconds)
        except StoreUnavailable:
            pool.store_away_at = self._flow.clock()
            return
        for incarnation in lost:
            if incarnation in pool.capsules:
                self._lose(pool, pool.capsules[incarnation], "another replica declared it lost")

    async def stop(self) -> None:
        """End what asks the store."""
        await self._tasks.stop()


def _any_silent(verdicts: Sequence[pool_pb2.Liveness]) -> bool:
    return any(verdict != pool_pb2.LIVENESS_LIVE for verdict in verdicts)
