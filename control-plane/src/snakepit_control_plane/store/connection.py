"""The way to the servers: one Redis or Valkey, the master that Sentinels name, or a Cluster. The only module that imports redis.

It sends commands once and sorts the errors; when to ask, and what an error means for whoever asked, is decided by `client`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, cast

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, NoScriptError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from snakepit_control_plane.store.urls import StoreUrl

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 1.0

Command = tuple[Any, ...]

_PROBE_KEY = "snakepit:{probe}"
_BROKEN = (RedisConnectionError, RedisTimeoutError, RedisClusterException, OSError, TimeoutError)
_NO_WAY = (RedisError, *_BROKEN)
"""Raised, and no answer to a command: a Sentinel's refusal, too."""
# An error that a script ran into comes inside a sentence from Redis 6, at the beginning of the line from its successors.
_CODE = re.compile(r"(?:^|[ -])(READONLY|BUSY|MASTERDOWN|CLUSTERDOWN|LOADING|OOM|MISCONF|NOREPLICAS)\b")
_FULL = frozenset({"OOM", "MISCONF", "NOREPLICAS"})


class Away(Exception):
    """The server can't be asked: why. Some of the commands may have been carried out."""


class Refusal(Exception):
    """The server's answer to one command is an error, and the command has done nothing."""


class Missing(Refusal):
    """The server doesn't know the script."""


class Full(Refusal):
    """The server takes no writes now, but answers reads: why."""


class NotServing(Refusal):
    """The server takes no commands now: why."""


class Connection(Protocol):
    """The way to whichever servers a URL names."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The answers; a Refusal, or an Away, in the place of each that failed. Raises Away when none can be told."""

    async def prepare(self, scripts: Sequence[str], *, afresh: bool) -> str:
        """Load the scripts and try to write; returns why nothing can be written. `afresh`: find out again who serves. Raises Away."""

    async def moved(self) -> bool:
        """Does another server serve now, though the one in use still answers?"""

    async def close(self) -> None:
        """End all connections."""


class Single:
    """One server: a fixed address, or whichever is the master."""

    def __init__(self, redis: Redis, sentinel: Sentinel | None = None, master: str = "") -> None:
        self._redis = redis
        self._sentinel = sentinel
        self._master = master

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            return [_sorted(answer) for answer in await pipeline.execute(raise_on_error=False)]
        except _NO_WAY as error:
            raise Away(_words(error)) from error

    async def prepare(self, scripts: Sequence[str], *, afresh: bool) -> str:
        if afresh:
            # Whoever answers to this name now may be another server.
            await _hung_up(self._redis.connection_pool.disconnect())
        return _why_not_writable(await self.run([*(("SCRIPT LOAD", text) for text in scripts), _PROBE]))

    async def moved(self) -> bool:
        """A primary that was replaced goes on answering for seconds, and what it is told then is lost."""
        if self._sentinel is None:
            return False
        used = cast(SentinelConnectionPool, self._redis.connection_pool).master_address
        try:
            return used is not None and used != await self._sentinel.discover_master(self._master)
        except _NO_WAY:
            return False  # no Sentinel knows better

    async def close(self) -> None:
        await _hung_up(self._redis.aclose())
        if self._sentinel is not None:
            await _hung_up(self._sentinel.aclose())


class Cluster:
    """All primaries of a Redis Cluster. redis-py splits a pipeline among them, and follows keys that have moved."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._cluster.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        try:
            return [_sorted(answer) for answer in await pipeline.execute(raise_on_error=False)]
        except _NO_WAY as error:
            raise Away(_words(error)) from error

    async def prepare(self, scripts: Sequence[str], *, afresh: bool) -> str:
        try:
            if afresh:
                await self._cluster.aclose()
            await self._cluster.initialize()
            for text in scripts:
                await self._cluster.execute_command("SCRIPT LOAD", text, target_nodes=RedisCluster.PRIMARIES)
        except _NO_WAY as error:
            raise Away(_words(error)) from error
        return _why_not_writable(await self.run([_PROBE]))

    async def moved(self) -> bool:
        return False  # its nodes say so themselves

    async def close(self) -> None:
        await _hung_up(self._cluster.aclose())


async def _hung_up(hanging_up: Awaitable[None]) -> None:
    """TLS has two ends say that it is over. redis-py drops a connection whose other end is silent, and raises."""
    with contextlib.suppress(*_BROKEN):
        await hanging_up


_PROBE: Command = ("SET", _PROBE_KEY, "1", "PX", 1000)


def _why_not_writable(answers: Sequence[Any]) -> str:
    for answer in answers:
        if isinstance(answer, Full):
            return str(answer)
        if isinstance(answer, Exception):
            raise Away(str(answer))
    return ""


def _sorted(answer: Any) -> Any:
    """The answer itself, or what its error means."""
    if not isinstance(answer, Exception):
        return answer
    if isinstance(answer, NoScriptError):
        return Missing(str(answer))
    if isinstance(answer, MovedError):
        return NotServing("this server is a node of a Redis Cluster: use a URL of redis+cluster://")
    # redis-py takes some codes off the text, and makes classes of them.
    text = f"{getattr(answer, 'status_code', None) or ''} {answer}".strip()
    found = _CODE.search(text)
    if found is not None:
        return Full(text) if found[1] in _FULL else NotServing(text)
    return Away(_words(answer)) if isinstance(answer, _BROKEN) else Refusal(text)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def connect(url: StoreUrl) -> Connection:
    """The connection for a URL of any kind but memory. Nothing is dialled yet."""
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if url.tls is not None:
        options |= {"ssl": True, **url.tls}
    # Whoever asks one server bounds the whole pipeline: a timer for each answer would cost more than the answer.
    unbounded = {**options, "socket_timeout": None}
    login: dict[str, Any] = {"username": url.username or None, "password": url.password or None}
    if url.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in url.hosts]
        # The names in the URL outlive the addresses that a cluster tells.
        return Cluster(RedisCluster(startup_nodes=nodes, dynamic_startup_nodes=False, **login, **options))
    if url.kind == "sentinel":
        own: dict[str, Any] = {"username": url.sentinel_username or None, "password": url.sentinel_password or None}
        sentinel = Sentinel(url.hosts, sentinel_kwargs={**own, **options})  # type: ignore[no-untyped-call]
        return Single(sentinel.master_for(url.master, db=url.db, **login, **unbounded), sentinel, url.master)
    (host, port), *_ = url.hosts
    return Single(Redis(host=host, port=port, db=url.db, **login, **unbounded))
