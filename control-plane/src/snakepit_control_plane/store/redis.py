"""Sessions, state, leases, pool settings and idempotency keys in Redis or Valkey. What changes more than one thing is a script in lua/.

Keys: `snakepit:{namespace/name}:…`, one hash tag a pool; all of them expire. Pools are listed in `snakepit:pools`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from snakepit.errors import StaleEpoch, Started, StoreUnavailable
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.queue import SHARE
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.model.session import MOST_MOVES, REBIND, Ended, Fence, Move, SessionRecord
from snakepit_control_plane.store.claims import ClaimState, Found, Run
from snakepit_control_plane.store.client import RedisClient, Unanswered
from snakepit_control_plane.store.connection import connect
from snakepit_control_plane.store.interface import StoredKey, StoredValue, UnreadableRecord, Written
from snakepit_control_plane.store.memory import (
    KEY_BYTES,
    check_quotas,
    check_type,
    full,
    no_session,
    owner_full,
    owner_holds,
    session_bytes,
    stale,
)
from snakepit_control_plane.store.urls import StoreUrl

log = logging.getLogger(__name__)

POOL_SECONDS = 30 * 86400
"""Settings that nobody renews for this long are forgotten."""

DELETED_SECONDS = 3600
"""A deleted pool's capsules may still say hello for a while: so long its name stays marked."""

GARBAGE = "backslashreplace"
"""What is no UTF-8 is read like this, and is nobody's name."""

_POOLS = "snakepit:pools"
_NOT_FOUND, _STALE, _OVER_LIMIT, _ANOTHER_LIFE, _OWNER_FULL, _OWNER_HOLDS = -1, -2, -3, -4, -5, -6


class RedisStore:
    """`url`: of any kind but memory. `owner_bytes`: what the sessions that one owner has in a pool may hold."""

    def __init__(self, url: StoreUrl, owner_bytes: int = Limits.max_state_bytes_per_caller) -> None:
        self._owner_bytes = owner_bytes
        self._client = RedisClient(connect(url))
        self.claims = RedisClaims(self._client)

    async def start(self) -> None:
        await self._client.start()

    async def close(self) -> None:
        await self._client.close()

    def measure(self, told: Callable[[str, float | None], None]) -> None:
        self._client.measured = told

    @property
    def problem(self) -> str:
        return self._client.problem

    @property
    def returns(self) -> int:
        return self._client.returns

    # ---- pools and agents

    async def save_pool(self, settings: link_pb2.PoolSettings, *, override: bool) -> link_pb2.PoolSettings:
        arguments = (settings.uid, settings.generation, int(settings.deleted), settings.SerializeToString(), int(override))
        ttls = (POOL_SECONDS * 1000, DELETED_SECONDS * 1000)
        await self._client.ask("ZADD", _POOLS, int(time.time()), settings.pool)
        await self._client.ask("EXPIRE", _POOLS, POOL_SECONDS)
        _, kept = await self._client.script("save_pool", [_key(settings.pool, "pool")], *arguments, *ttls)
        return link_pb2.PoolSettings.FromString(kept)

    async def load_pools(self) -> list[link_pb2.PoolSettings]:
        names = await self._client.ask("ZRANGE", _POOLS, 0, -1)
        kept = await asyncio.gather(*[self._client.ask("HGET", _key(name.decode(), "pool"), "settings") for name in names])
        forgotten = [name for name, each in zip(names, kept, strict=True) if each is None]
        if forgotten:
            await self._client.ask("ZREM", _POOLS, *forgotten)
        found = [link_pb2.PoolSettings.FromString(each) for each in kept if each is not None]
        return [settings for settings in found if not settings.deleted]

    async def renew_leases(self, pool: str, seconds: Mapping[str, float]) -> list[str]:
        each_ones = [([*_lease_keys(pool, each), _key(pool, "leases")], (_ms(left), each)) for each, left in seconds.items()]
        renewed = await self._client.scripts("renew_lease", each_ones)
        return [each for each, (alive,) in zip(seconds, renewed, strict=True) if not alive]

    async def has_lease(self, pool: str, incarnation: str) -> bool:
        return bool(await self._client.ask("EXISTS", _key(pool, "lease", incarnation)))

    async def live_agents(self, pools: Sequence[str]) -> list[str]:
        found = await self._client.scripts("live_agents", [([_key(pool, "leases")], ()) for pool in pools])
        return [incarnation.decode() for _, incarnations in found for incarnation in incarnations]

    async def declare_lost(self, pool: str, incarnation: str, ttl_seconds: float) -> float:
        (left,) = await self._client.script("declare_lost", _lease_keys(pool, incarnation), _ms(ttl_seconds))
        return float(left) / 1000

    # ---- sessions

    async def create_session(self, wanted: SessionRecord, max_sessions: int, per_owner: int = 0) -> tuple[SessionRecord, bool]:
        arguments = (wanted.id, wanted.uid, _ms(wanted.ttl_seconds), json.dumps(dict(wanted.metadata)), max_sessions)
        size = session_bytes(wanted)
        whose = (wanted.owner, wanted.group, per_owner, SHARE, size, self._owner_bytes)
        code, *rest = await self._client.script("create_session", _session_keys(wanted.pool, wanted.id), *arguments, *whose)
        if not code:
            raise full(wanted.pool, max_sessions)
        if code == _OWNER_FULL:
            raise owner_full(wanted, int(rest[0]), max_sessions, per_owner)
        if code == _OWNER_HOLDS:
            raise owner_holds(wanted.owner, wanted.pool, int(rest[0]), size, self._owner_bytes)
        record, created = rest
        return _record(wanted.pool, wanted.id, record), bool(created)

    async def get_session(self, pool: str, session: str) -> SessionRecord:
        return await self._session(pool, session, "get_session")

    async def touch_sessions(self, pool: str, sessions: Mapping[str, str]) -> list[SessionRecord | None]:
        each_ones = [(_session_keys(pool, each), (uid,)) for each, uid in sessions.items()]
        touched = await self._client.scripts("touch_session", each_ones)
        found = zip(sessions, touched, strict=True)
        return [_record_if_readable(pool, each, record[0]) if code == 1 else None for each, (code, *record) in found]

    async def delete_session(self, pool: str, session: str, uid: str = "") -> SessionRecord | None:
        code, *record = await self._client.script("delete_session", [*_session_keys(pool, session), _key(pool, "deleted")], session, uid)
        if code != 1:
            return None
        gone = _record_or_error(pool, session, record[0])
        return gone.record if isinstance(gone, UnreadableRecord) else gone

    async def were_deleted(self, pool: str, sessions: Sequence[str]) -> list[bool]:
        told = await self._client.scripts("deleted_session", [([_key(pool, "deleted")], (each,)) for each in sessions])
        return [bool(deleted) for (deleted,) in told]

    async def list_sessions(self, pool: str, after: str, limit: int) -> list[SessionRecord | UnreadableRecord]:
        _, ids = await self._client.script("list_sessions", _session_keys(pool, ""), after, limit)
        found = await self._client.scripts("get_session", [(_session_keys(pool, each.decode()), ()) for each in ids])
        there = zip(ids, found, strict=True)
        return [_record_or_error(pool, each.decode(), record[0]) for each, (code, *record) in there if code == 1]

    async def count_sessions(self, pool: str) -> int:
        _, count = await self._client.script("count_sessions", _session_keys(pool, ""))
        return int(count)

    async def bind_session(self, known: SessionRecord, worker: str, incarnation: str, agent: str, why: str = "") -> SessionRecord:
        return await self._session(known.pool, known.id, "bind_session", *known.binding, worker, incarnation, agent, why, MOST_MOVES)

    async def unbind_session(self, known: SessionRecord) -> SessionRecord:
        return await self._session(known.pool, known.id, "unbind_session", *known.binding, REBIND, MOST_MOVES)

    async def note_lost(self, known: SessionRecord) -> bool:
        (code,) = await self._client.script("note_lost", _session_keys(known.pool, known.id), *known.binding)
        if code == _NOT_FOUND:
            raise no_session(known.pool, known.id)
        return bool(code)

    async def take_ended(self, pool: str, limit: int) -> list[Ended]:
        _, ended = await self._client.script("take_ended", _session_keys(pool, ""), limit)
        return [Ended(pool, *each.decode().split("\n")) for each in ended]

    # ---- state

    async def get_state(self, pool: str, session: str, key: str, fence: Fence | None) -> StoredValue | None:
        _, stored = await self._state(pool, session, "get_state", fence, key)
        if stored is None:
            return None
        version, content_type, data = stored.split(b":", 2)
        return StoredValue(common_pb2.Payload(content_type=content_type.decode(), data=data), int(version))

    async def set_state(
        self, pool: str, session: str, key: str, value: common_pb2.Payload, expected: int | None, quotas: SessionSpec, fence: Fence | None
    ) -> Written:
        check_type(value.content_type)
        allowed = (quotas.max_value_bytes, quotas.max_keys, quotas.max_bytes, self._owner_bytes, KEY_BYTES)
        condition = "" if expected is None else expected
        code, *rest = await self._state(pool, session, "set_state", fence, key, value.content_type, value.data, condition, *allowed)
        if code == _OVER_LIMIT:
            size, keys, total = rest
            check_quotas(quotas, size=size, keys=keys, total=total)
        if code == _OWNER_HOLDS:
            held, more, owner = rest
            raise owner_holds(owner.decode(), pool, held, more, self._owner_bytes)
        return Written(done=code == 1, version=rest[0])

    async def delete_state(self, pool: str, session: str, key: str, fence: Fence | None) -> bool:
        (code,) = await self._state(pool, session, "delete_state", fence, key, KEY_BYTES)
        return bool(code == 1)

    async def list_state(self, pool: str, session: str, fence: Fence | None) -> list[StoredKey]:
        _, listed = await self._state(pool, session, "list_state", fence)
        return sorted((StoredKey(key.decode(), version, size) for key, version, size in listed), key=lambda each: each.key)

    # ---- inside

    async def _session(self, pool: str, session: str, script: str, *arguments: Any) -> SessionRecord:
        code, *record = await self._client.script(script, _session_keys(pool, session), *arguments)
        if code == _NOT_FOUND:
            raise no_session(pool, session)
        return _record(pool, session, record[0])

    async def _state(self, pool: str, session: str, script: str, fence: Fence | None, *arguments: Any) -> Any:
        uid, epoch = (fence.uid, fence.epoch) if fence is not None else ("", 0)
        if fence is not None and not uid:
            raise StaleEpoch(f"session {session!r}: the request carries no session uid")
        try:
            reply = await self._client.script(script, _session_keys(pool, session), uid, "" if epoch is None else epoch, *arguments)
        except Unanswered as error:
            raise StoreUnavailable(error.message, started=Started.MAYBE) from error
        if reply[0] == _NOT_FOUND:
            raise no_session(pool, session)
        if reply[0] in (_STALE, _ANOTHER_LIFE):
            raise stale(session, another_life=reply[0] == _ANOTHER_LIFE)
        return reply


class RedisClaims:
    """What is kept under idempotency keys, and the replicas' leases: on the connection of the store that they belong to."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def claim(self, run: Run, *, lease_seconds: float, keep_seconds: float, lost: bytes) -> Found:
        arguments = (run.digest, run.replica, run.id, _ms(lease_seconds), _ms(keep_seconds), lost)
        state, *outcome = await self._client.script("claim_call", _call_keys(run), *arguments)
        return Found(ClaimState(state), outcome[0] if outcome else b"")

    async def finish(self, run: Run, outcome: bytes, keep_seconds: float) -> bool:
        arguments = (run.digest, run.replica, run.id, outcome, _ms(keep_seconds))
        (done,) = await self._client.script("finish_call", _call_keys(run), *arguments)
        return bool(done)

    async def release(self, run: Run) -> None:
        await self._client.script("release_call", _call_keys(run), run.id)

    async def hold(self, pool: str, replica: str, lease_seconds: float) -> bool:
        (known,) = await self._client.script("hold_calls", [_key(pool, "replicas")], replica, _ms(lease_seconds))
        return bool(known)

    async def joined(self, run: Run) -> bool:
        there = await self._client.ask("HMGET", _call_keys(run)[0], "run", "joined")
        return bool(there[0] == run.id.encode() and there[1])


def _key(pool: str, *parts: str) -> str:
    return ":".join((f"snakepit:{{{pool}}}", *parts))


def _session_keys(pool: str, session: str) -> list[str]:
    shared = [_key(pool, each) for each in ("expiry", "ids", "bound", "ended", "owners", "owned", "sizes", "held")]
    return [_key(pool, "session", session), _key(pool, "state", session), *shared]


def _call_keys(run: Run) -> list[str]:
    return [_key(run.pool, "call", run.key), _key(run.pool, "replicas")]


def _lease_keys(pool: str, incarnation: str) -> list[str]:
    return [_key(pool, "lease", incarnation), _key(pool, "lost", incarnation)]


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _record(pool: str, session: str, flat: list[bytes]) -> SessionRecord:
    """Raises UnreadableRecord."""
    fields = {name.decode(errors=GARBAGE): value.decode(errors=GARBAGE) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    try:
        return _read(pool, fields)
    except (KeyError, ValueError, ArithmeticError, RecursionError) as error:
        uid, owner, group = (fields.get(each, "") for each in ("uid", "owner", "group"))
        there = SessionRecord(pool, session, uid, 0.0, 0.0, 0.0, 0, owner=owner, group=group)
        raise UnreadableRecord(there, repr(error)) from error


def _record_or_error(pool: str, session: str, flat: list[bytes]) -> SessionRecord | UnreadableRecord:
    try:
        return _record(pool, session, flat)
    except UnreadableRecord as error:
        return error


def _record_if_readable(pool: str, session: str, flat: list[bytes]) -> SessionRecord | None:
    found = _record_or_error(pool, session, flat)
    if isinstance(found, UnreadableRecord):
        log.error("%s", found.message)
        return None
    return found


def _read(pool: str, fields: dict[str, str]) -> SessionRecord:
    return SessionRecord(
        pool=pool,
        id=fields["id"],
        uid=fields["uid"],
        created=int(fields["created"]) / 1000,
        last_used=int(fields["last_used"]) / 1000,
        ttl_seconds=int(fields["ttl"]) / 1000,
        epoch=int(fields["epoch"]),
        # Thousands of sessions share them.
        worker=sys.intern(fields["worker"]),
        incarnation=sys.intern(fields["incarnation"]),
        agent=sys.intern(fields.get("agent", "")),
        owner=sys.intern(fields["owner"]),
        group=sys.intern(fields["group"]),
        metadata=_metadata(fields["metadata"]),
        moves=tuple(_move(line) for line in fields.get("moves", "").splitlines()),
    )


def _metadata(text: str) -> Mapping[str, str]:
    said = json.loads(text)
    if not (isinstance(said, dict) and all(isinstance(value, str) for value in said.values())):
        raise ValueError("metadata is no object of strings")
    return said


def _move(line: str) -> Move:
    epoch, at, why, worker = line.split("\t")
    return Move(int(epoch), int(at) / 1000, sys.intern(why), sys.intern(worker))
