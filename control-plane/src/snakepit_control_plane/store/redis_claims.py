"""Idempotency keys in Redis or Valkey; the scripts are in lua/. Keys: `snakepit:{namespace/name}:call:…`, and the replicas' leases."""

from __future__ import annotations

from collections.abc import Callable

from snakepit_control_plane.store.claims import Found, Run, State
from snakepit_control_plane.store.client import RedisClient


class RedisClaims:
    """On the connection of the store that it belongs to."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def claim(self, run: Run, *, lease_seconds: float, keep_seconds: float, lost: bytes) -> Found:
        arguments = (run.digest, run.replica, run.id, _ms(lease_seconds), _ms(keep_seconds), lost, run.key, _channel(run.pool))
        state, *outcome = await self._client.script("claim_call", _keys(run), *arguments)
        return Found(State(state), outcome[0] if outcome else b"")

    async def finish(self, run: Run, outcome: bytes, keep_seconds: float) -> bool:
        arguments = (run.digest, run.replica, run.id, outcome, _ms(keep_seconds), run.key, _channel(run.pool))
        (done,) = await self._client.script("finish_call", _keys(run), *arguments)
        return bool(done)

    async def release(self, run: Run) -> None:
        await self._client.script("release_call", _keys(run), run.id, run.key, _channel(run.pool))

    async def hold(self, pool: str, replica: str, lease_seconds: float) -> bool:
        (known,) = await self._client.script("hold_calls", [_replicas(pool)], replica, _ms(lease_seconds))
        return bool(known)

    async def joined(self, run: Run) -> bool:
        there = await self._client.ask("HMGET", _keys(run)[0], "run", "joined")
        return bool(there[0] == run.id.encode() and there[1])

    def watch(self, pool: str, changed: Callable[[str], None]) -> Callable[[], None]:
        return lambda: None


def _keys(run: Run) -> list[str]:
    return [f"snakepit:{{{run.pool}}}:call:{run.key}", _replicas(run.pool)]


def _replicas(pool: str) -> str:
    return f"snakepit:{{{pool}}}:replicas"


def _channel(pool: str) -> str:
    return f"snakepit:{{{pool}}}:calls"


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
