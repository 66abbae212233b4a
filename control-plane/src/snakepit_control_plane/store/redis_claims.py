"""Idempotency keys in Redis or Valkey; the scripts are in lua/. Keys: `snakepit:{namespace/name}:call:…`, and the replicas' leases."""

from __future__ import annotations

from collections.abc import Callable

from snakepit_control_plane.store.claims import Found, Run, State
from snakepit_control_plane.store.client import RedisClient
from snakepit_control_plane.store.news import News


class RedisClaims:
    """On the connection of the store that it belongs to."""

    def __init__(self, client: RedisClient, news: News) -> None:
        self._client = client
        self._news = news

    async def claim(self, run: Run, *, lease_seconds: float, keep_seconds: float, lost: bytes) -> Found:
        arguments = (run.digest, run.replica, run.id, _ms(lease_seconds), _ms(keep_seconds), lost)
        state, *outcome = await self._client.script("claim_call", _keys(run), *arguments)
        return Found(State(state), outcome[0] if outcome else b"")

    async def finish(self, run: Run, outcome: bytes, keep_seconds: float) -> bool:
        arguments = (run.digest, run.replica, run.id, outcome, _ms(keep_seconds))
        (done,) = await self._client.script("finish_call", _keys(run), *arguments)
        return bool(done)

    async def release(self, run: Run) -> None:
        await self._client.script("release_call", _keys(run), run.id)

    async def hold(self, pool: str, replica: str, lease_seconds: float) -> bool:
        (known,) = await self._client.script("hold_calls", [_replicas(pool)], replica, _ms(lease_seconds))
        return bool(known)

    async def joined(self, run: Run) -> bool:
        there = await self._client.ask("HMGET", _keys(run)[0], "run", "joined")
        return bool(there[0] == run.id.encode() and there[1])

    def watch(self, run: Run, changed: Callable[[], None]) -> Callable[[], None]:
        return self._news.watch(_keys(run)[0], changed)


def _keys(run: Run) -> list[str]:
    return [f"snakepit:{{{run.pool}}}:call:{run.key}", _replicas(run.pool)]


def _replicas(pool: str) -> str:
    return f"snakepit:{{{pool}}}:replicas"


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
