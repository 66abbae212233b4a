"""The store of local mode and of tests: one process's memory, the same answers as Redis. It never loses a race, for it never awaits."""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from snakepit._values.strings import quoted
from snakepit.errors import CallerLimit, InvalidArguments, SessionNotFound, SessionQuota, StaleEpoch, StateQuota
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.quotas import Limits, may_own
from snakepit_control_plane.model.session import MOST_MOVES, REBIND, Ended, Fence, Move, SessionRecord
from snakepit_control_plane.store.claims import MemoryClaims
from snakepit_control_plane.store.interface import StoredKey, StoredValue, UnreadableRecord, Written

MAX_SESSIONS, MAX_PER_CALLER, MAX_STATE_BYTES = "session.maxSessions", "session.maxPerCaller", "maxStateBytesPerCaller"
"""Names of limits."""

SESSION_BYTES = 1000
"""What a session takes in the store, beside its metadata and state."""
KEY_BYTES = 100
"""What a key of its state takes, beside name, content type and value."""
MOST_TYPE_CHARACTERS = 128
"""Of the content type of a value."""

MOST_ENDED = 10_000
"""Expired sessions of a pool whose workers have not been told."""


@dataclass
class _Session:
    record: SessionRecord
    state: dict[str, StoredValue] = field(default_factory=dict)
    bytes: int = 0
    # What it holds for its owner.
    held: int = 0
    # The highest version that a deleted key had: a key that is set again goes on above it.
    floor: int = 0
    # The epoch under which its worker was said to be gone for good.
    lost: int = 0


MOST_DELETED = 1024
"""And as many as there are sessions: so many deleted ones are remembered until they would have expired."""


class MemoryStore:
    """`clock` gives Unix seconds. `owner_bytes`: what the sessions that one owner has in a pool may hold."""

    problem = ""
    returns = 0

    def __init__(self, clock: Callable[[], float] = time.time, owner_bytes: int = Limits.max_state_bytes_per_caller) -> None:
        self.claims = MemoryClaims(clock)
        self._clock = clock
        self._pools: dict[str, link_pb2.PoolSettings] = {}
        self._sessions: dict[str, dict[str, _Session]] = {}
        self._owner_bytes = owner_bytes
        # How many each owner has in a pool, and how many bytes.
        self._owned = Counter[tuple[str, str]]()
        self._held = Counter[tuple[str, str]]()
        # When to look at a session again; a slid TTL leaves an early entry behind, which is put back when it comes up.
        self._expiry: list[tuple[float, str, str]] = []
        self._most_expiry = MOST_DELETED
        self._ended: dict[str, deque[Ended]] = {}
        self._leases: dict[tuple[str, str], float] = {}
        self._lost: dict[tuple[str, str], float] = {}

    async def start(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """There is nothing to close."""

    def measure(self, told: Callable[[str, float | None], None]) -> None:
        """There is no round trip to measure."""

    # ---- pools and agents

    async def save_pool(self, settings: link_pb2.PoolSettings, *, override: bool) -> link_pb2.PoolSettings:
        kept = self._pools.get(settings.pool)
        if kept is None or supersedes(settings, kept, override=override):
            kept = self._pools[settings.pool] = settings
        return kept

    async def load_pools(self) -> list[link_pb2.PoolSettings]:
        return [settings for settings in self._pools.values() if not settings.deleted]

    async def renew_leases(self, pool: str, seconds: Mapping[str, float]) -> list[str]:
        now = self._clock()
        lost = [each for each in seconds if self._lost.get((pool, each), 0.0) > now]
        self._leases.update({(pool, each): now + left for each, left in seconds.items() if each not in lost})
        return lost

    async def has_lease(self, pool: str, incarnation: str) -> bool:
        return self._leases.get((pool, incarnation), 0.0) > self._clock()

    async def live_agents(self, pools: Sequence[str]) -> list[str]:
        now = self._clock()
        return [incarnation for (pool, incarnation), until in self._leases.items() if until > now and pool in pools]

    async def declare_lost(self, pool: str, incarnation: str, ttl_seconds: float) -> float:
        now, key = self._clock(), (pool, incarnation)
        if (until := self._leases.get(key, 0.0)) > now:
            return until - now
        self._leases = {each: until for each, until in self._leases.items() if until > now}
        self._lost = {each: until for each, until in self._lost.items() if until > now}
        self._lost[key] = now + ttl_seconds
        return 0.0

    # ---- sessions

    async def create_session(self, wanted: SessionRecord, max_sessions: int, per_owner: int = 0) -> tuple[SessionRecord, bool]:
        sessions = self._live(wanted.pool)
        if wanted.id in sessions:
            return sessions[wanted.id].record, False
        if len(sessions) >= max_sessions:
            raise full(wanted.pool, max_sessions)
        mine = self._owned[wanted.pool, wanted.owner]
        if wanted.owner and not may_own(mine, max_sessions - len(sessions), per_owner):
            raise owner_full(wanted, mine, max_sessions, per_owner)
        size = session_bytes(wanted)
        self._check_owner(wanted, size)
        self._owned[wanted.pool, wanted.owner] += 1
        now = self._clock()
        record = replace(wanted, created=now, last_used=now)
        made = sessions[wanted.id] = _Session(record)
        self._charge(made, size)
        heapq.heappush(self._expiry, (record.expires, record.pool, record.id))
        if len(self._expiry) > self._most_expiry:
            self._forget_deleted()
        return record, True

    async def get_session(self, pool: str, session: str) -> SessionRecord:
        return self._get(pool, session).record

    async def touch_sessions(self, pool: str, sessions: Mapping[str, str]) -> list[SessionRecord | None]:
        live = self._live(pool)
        there = ((live.get(each), uid) for each, uid in sessions.items())
        return [self._touch(found) if found is not None and uid in ("", found.record.uid) else None for found, uid in there]

    async def delete_session(self, pool: str, session: str, uid: str = "") -> SessionRecord | None:
        gone = self._live(pool).get(session)
        if gone is None or uid not in ("", gone.record.uid):
            return None
        del self._sessions[pool][session]
        self._disown(gone)
        return gone.record

    async def were_deleted(self, pool: str, sessions: Sequence[str]) -> list[bool]:
        """Nothing is lost here: what is gone was deleted, or has expired."""
        return [True] * len(sessions)

    async def list_sessions(self, pool: str, after: str, limit: int) -> list[SessionRecord | UnreadableRecord]:
        sessions = self._live(pool)
        return [sessions[each].record for each in heapq.nsmallest(limit, (each for each in sessions if each > after))]

    async def count_sessions(self, pool: str) -> int:
        return len(self._live(pool))

    async def bind_session(self, known: SessionRecord, worker: str, incarnation: str, agent: str, why: str = "") -> SessionRecord:
        session = self._get(known.pool, known.id)
        there = session.record
        if there.binding == known.binding:
            before = self._moved(there, why) if there.incarnation else there
            session.record = replace(before, worker=worker, incarnation=incarnation, agent=agent)
        return self._touch(session)

    async def unbind_session(self, known: SessionRecord) -> SessionRecord:
        session = self._get(known.pool, known.id)
        there = session.record
        if there.binding == known.binding:
            session.record = replace(self._moved(there, REBIND), worker="", incarnation="", agent="")
        return session.record

    async def note_lost(self, known: SessionRecord) -> bool:
        session = self._get(known.pool, known.id)
        if session.record.binding != known.binding or session.lost == known.epoch:
            return False
        session.lost = known.epoch
        return True

    def _moved(self, there: SessionRecord, why: str) -> SessionRecord:
        """The record under the next epoch, and why that began."""
        move = Move(there.epoch + 1, self._clock(), why, there.worker)
        return replace(there, epoch=move.epoch, moves=(move, *there.moves)[:MOST_MOVES])

    async def take_ended(self, pool: str, limit: int) -> list[Ended]:
        self._live(pool)
        ended = self._ended.get(pool, deque())
        return [ended.popleft() for _ in range(min(limit, len(ended)))]

    # ---- state

    async def get_state(self, pool: str, session: str, key: str, fence: Fence | None) -> StoredValue | None:
        return self._fenced(pool, session, fence).state.get(key)

    async def set_state(
        self, pool: str, session: str, key: str, value: common_pb2.Payload, expected: int | None, quotas: SessionSpec, fence: Fence | None
    ) -> Written:
        check_type(value.content_type)
        found = self._fenced(pool, session, fence)
        there = found.state.get(key)
        version = there.version if there else 0
        if expected is not None and expected != version:
            return Written(done=False, version=version)
        total = found.bytes + len(value.data) - (len(there.value.data) if there else 0)
        check_quotas(quotas, size=len(value.data), keys=len(found.state) + (there is None), total=total)
        more = state_bytes(key, value) - (state_bytes(key, there.value) if there else 0)
        self._check_owner(found.record, more)
        self._charge(found, more)
        stored = found.state[key] = StoredValue(value, (version or found.floor) + 1)
        found.bytes = total
        self._touch(found)
        return Written(done=True, version=stored.version)

    async def delete_state(self, pool: str, session: str, key: str, fence: Fence | None) -> bool:
        found = self._fenced(pool, session, fence)
        gone = found.state.pop(key, None)
        if gone is not None:
            found.bytes -= len(gone.value.data)
            self._charge(found, -state_bytes(key, gone.value))
            found.floor = max(found.floor, gone.version)
        return gone is not None

    async def list_state(self, pool: str, session: str, fence: Fence | None) -> list[StoredKey]:
        state = self._fenced(pool, session, fence).state
        return [StoredKey(key, stored.version, len(stored.value.data)) for key, stored in sorted(state.items())]

    # ---- inside

    def _live(self, pool: str) -> dict[str, _Session]:
        now = self._clock()
        while self._expiry and self._expiry[0][0] <= now:
            _, owner, each = heapq.heappop(self._expiry)
            session = self._sessions.get(owner, {}).get(each)
            if session is None:
                continue
            if session.record.expires > now:
                heapq.heappush(self._expiry, (session.record.expires, owner, each))
            else:
                del self._sessions[owner][each]
                self._disown(session)
                self._note_end(session.record)
        return self._sessions.setdefault(pool, {})

    def _check_owner(self, record: SessionRecord, more: int) -> None:
        held = self._held[record.pool, record.owner]
        if record.owner and more > 0 and held + more > self._owner_bytes:
            raise owner_holds(record.owner, record.pool, held, more, self._owner_bytes)

    def _charge(self, session: _Session, more: int) -> None:
        session.held += more
        self._held[session.record.pool, session.record.owner] += more

    def _disown(self, gone: _Session) -> None:
        whose = gone.record.pool, gone.record.owner
        self._charge(gone, -gone.held)
        self._owned[whose] -= 1
        if not self._owned[whose]:
            del self._owned[whose], self._held[whose]

    def _forget_deleted(self) -> None:
        """Sessions that were deleted before their time have entries, too."""
        self._expiry = [(each.record.expires, pool, id_) for pool, of in self._sessions.items() for id_, each in of.items()]
        heapq.heapify(self._expiry)
        self._most_expiry = 2 * len(self._expiry) + MOST_DELETED

    def _note_end(self, record: SessionRecord) -> None:
        if record.worker:
            ended = self._ended.setdefault(record.pool, deque(maxlen=MOST_ENDED))
            ended.append(Ended(record.pool, record.id, record.uid, record.worker, record.incarnation))

    def _get(self, pool: str, session: str) -> _Session:
        found = self._live(pool).get(session)
        if found is None:
            raise no_session(pool, session)
        return found

    def _fenced(self, pool: str, session: str, fence: Fence | None) -> _Session:
        found = self._get(pool, session)
        if fence is not None and not fence.admits(found.record.fence):
            raise stale(session, another_life=fence.uid != found.record.uid)
        return found

    def _touch(self, session: _Session) -> SessionRecord:
        session.record = replace(session.record, last_used=self._clock())
        return session.record


def supersedes(new: link_pb2.PoolSettings, kept: link_pb2.PoolSettings, *, override: bool) -> bool:
    """May `new` replace `kept`? The operator's may, but for older ones of the same uid; an agent's only those of a deleted pool.

    The operator alone brings a pool back whose uid was deleted: another operator, which didn't know it, had the last word for a moment.
    """
    if new.uid != kept.uid:
        return override or kept.deleted
    return override and (new.deleted or kept.deleted or new.generation >= kept.generation)


def check_quotas(quotas: SessionSpec, *, size: int, keys: int, total: int) -> None:
    """Raises StateQuota for the first limit that a write would break; its details have the limit's name, and what it allows."""
    for what, value, unit, name, allowed in (
        ("the value would have", size, "bytes", "session.maxValueBytes", quotas.max_value_bytes),
        ("the session's state would have", keys, "keys", "session.maxKeys", quotas.max_keys),
        ("the session's state would have", total, "bytes", "session.maxBytes", quotas.max_bytes),
    ):
        if value > allowed:
            raise StateQuota(f"{what} {value} {unit}, {name} allows {allowed}", details={"limit": name, unit: str(allowed)})


def full(pool: str, most: int) -> SessionQuota:
    """The error of a pool whose sessions are all in use."""
    message = f"pool {pool} has its {most} sessions ({MAX_SESSIONS}): delete some"
    return SessionQuota(message, details={"limit": MAX_SESSIONS, "sessions": str(most)})


def owner_full(wanted: SessionRecord, mine: int, most: int, per_owner: int) -> CallerLimit:
    """The error of an owner who has as many sessions of the pool as it may."""
    whose = f"{mine} sessions of pool {wanted.pool}, as many as {MAX_PER_CALLER} allows"
    if not per_owner:
        whose = f"{mine} of the {most} sessions of pool {wanted.pool}, and the last ones are for others ({MAX_PER_CALLER})"
    return CallerLimit(f"{wanted.owner} has {whose}: delete some", details={"limit": MAX_PER_CALLER, "sessions": str(per_owner or mine)})


def check_type(content_type: str) -> None:
    """Raises InvalidArguments for a content type that a value of a session's state can't have: the store has it between colons."""
    if len(content_type) > MOST_TYPE_CHARACTERS or ":" in content_type:
        most = f"{MOST_TYPE_CHARACTERS} characters without a colon"
        raise InvalidArguments(f"content type {quoted(content_type)} of a value of a session's state must have at most {most}")


def session_bytes(wanted: SessionRecord) -> int:
    """What a session without state is counted as."""
    return SESSION_BYTES + len(json.dumps(dict(wanted.metadata)))


def state_bytes(key: str, value: common_pb2.Payload) -> int:
    """What a key of a session's state is counted as, for the session's owner."""
    return KEY_BYTES + len(key.encode()) + len(value.content_type.encode()) + len(value.data)


def owner_holds(owner: str, pool: str, held: int, more: int, most: int) -> CallerLimit:
    """The error of an owner whose sessions of a pool hold as much as they may."""
    message = f"sessions of {owner} hold {held} bytes of pool {pool}, and this needs {more} more: {MAX_STATE_BYTES} allows {most}"
    return CallerLimit(f"{message}, delete keys or sessions", details={"limit": MAX_STATE_BYTES, "bytes": str(most)})


def no_session(pool: str, session: str) -> SessionNotFound:
    """The error of a session that is not there."""
    return SessionNotFound(f"pool {pool} has no session {quoted(session)}: create it first, or it has expired")


def stale(session: str, *, another_life: bool) -> StaleEpoch:
    """`another_life`: the session of that id is not the one that the call belongs to."""
    if another_life:
        gone = "the one that this call belongs to has expired, was deleted, or was lost with the store"
        return StaleEpoch(f"session {quoted(session)} has been made anew: {gone}, and may not use the new one's state")
    return StaleEpoch(f"session {quoted(session)} has moved to another worker: this one may not use its state any more")
