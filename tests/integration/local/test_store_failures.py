"""Each way in which Redis fails, under a real control plane with real workers: what callers see, what goes on, and that it heals."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from snakepit import Client, Pool, Session, SessionNotFound, StaleEpoch, Started, StoreUnavailable
from support.dev_server import Dev, pool_file, ready_dev
from support.redis_server import RedisServer, redis_server

AT_ONCE_SECONDS = 1.0
"""Less than an answer of the store is waited for. One of several is so quick, however busy the machine is."""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture(scope="module")
def server(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    file = pool_file(tmp_path_factory.mktemp("pools"), "sample", "support.sample:Sample", worker="processes: 2", replicas="1")
    with ready_dev(file, "--store", redis.url) as program:
        yield program


@pytest.fixture
async def pool(server: Dev, redis: RedisServer) -> AsyncIterator[Pool]:
    """A pool whose store is well, before and after the test; its workers live on through it."""
    async with Client(server.server) as client:
        pool = client.pool("sample")
        workers = {each.incarnation for each in await pool.workers()}
        yield pool
        await until_well(pool)
        assert {each.incarnation for each in await pool.workers()} == workers


async def until_well(pool: Pool) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with pool.session(delete=True) as session:
                    await session.state.set("k", 1)
                return
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def bound(pool: Pool, name: str) -> Session:
    session = pool.session(name)
    await session.create()
    assert await session.call("remember", {"key": "k", "value": 1}) == 1
    return session


async def away_at_once(pool: Pool, session: Session) -> None:
    """What needs the store fails at once, what doesn't goes on."""
    took = []
    for _ in range(6):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await pool.session().create()
        took.append(time.monotonic() - started)
    assert min(took[1:]) < AT_ONCE_SECONDS, took
    assert await pool.call("add", {"a": 1, "b": 2}) == 3
    assert await session.call("add", {"a": 1, "b": 2}) == 3
    with pytest.raises(StoreUnavailable) as let_through:
        await session.call("remember", {"key": "k", "value": 2})
    assert let_through.value.started is Started.YES


async def test_redis_killed_and_restarted_empty(pool: Pool, redis: RedisServer) -> None:
    session = await bound(pool, "killed")
    redis.kill()
    await away_at_once(pool, session)
    redis.start()
    await until_well(pool)
    async with asyncio.timeout(10):
        while True:
            try:
                await session.call("add", {"a": 1, "b": 2})
            except SessionNotFound:
                break
    assert await session.create()
    assert await session.call("recall", {"key": "k"}) is None


async def test_redis_stopped_for_a_while(pool: Pool, redis: RedisServer) -> None:
    session = await bound(pool, "stopped")
    redis.freeze()
    try:
        await away_at_once(pool, session)
    finally:
        redis.thaw()
    await until_well(pool)
    assert await session.call("recall", {"key": "k"}) == 1
    assert await session.delete()


async def test_redis_full(pool: Pool, redis: RedisServer) -> None:
    session = await bound(pool, "full")
    spare = pool.session("spare")
    await spare.create()
    assert redis.command("CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"
    try:
        await away_at_once(pool, session)
        assert (await session.info()).id == "full"
        assert await session.state.get("k") == 1
        assert await spare.delete()
    finally:
        assert redis.command("CONFIG", "SET", "maxmemory", "0") == b"+OK\r\n"
    await until_well(pool)
    assert await session.call("remember", {"key": "k", "value": 3}) == 2


async def test_redis_flushed(pool: Pool, redis: RedisServer) -> None:
    session = await bound(pool, "flushed")
    assert redis.command("FLUSHALL") == b"+OK\r\n"
    assert redis.command("SCRIPT", "FLUSH") == b"+OK\r\n"
    with pytest.raises(SessionNotFound):
        await session.call("remember", {"key": "k", "value": 2})
    async with asyncio.timeout(10):
        while True:
            try:
                await session.call("add", {"a": 1, "b": 2})
            except SessionNotFound:
                break
    assert await pool.call("add", {"a": 1, "b": 2}) == 3
    assert await session.create()
    assert await session.call("remember", {"key": "k", "value": 5}) == 1


async def test_no_call_runs_twice_however_redis_comes_and_goes(pool: Pool, redis: RedisServer, tmp_path: Path) -> None:
    """Sessions are bound and written to while Redis is frozen, full, flushed and killed, and well again after each."""
    marks, outcomes = tmp_path / "marks", Counter[str]()

    async def call(number: int) -> None:
        session = pool.session(f"many-{number % 7}")
        try:
            await session.create()
            said = await session.call("mark", {"path": str(marks), "token": str(number)}, timeout=20)
        except (StoreUnavailable, SessionNotFound, StaleEpoch) as error:  # The last: a flushed session has been made again.
            said = f"{error.reason} {error.started.name}"
        outcomes[said] += 1

    async def more(well: bool) -> None:
        """Another forty calls, all told or of those that went well."""
        before = outcomes["written"] if well else outcomes.total()
        async with asyncio.timeout(20):
            while (outcomes["written"] if well else outcomes.total()) < before + 40:
                await asyncio.sleep(0.01)

    def fill(limit: str) -> None:
        assert redis.command("CONFIG", "SET", "maxmemory", limit) == b"+OK\r\n"

    def flush() -> None:
        assert redis.command("FLUSHALL") == b"+OK\r\n"

    async def trouble() -> None:
        troubles: list[tuple[Callable[[], object], Callable[[], object]]] = [
            (redis.freeze, redis.thaw),
            (lambda: fill("1"), lambda: fill("0")),
            (flush, flush),
            (redis.kill, redis.start),
        ]
        for breaks, heals in troubles:
            await more(well=True)
            breaks()
            await more(well=False)
            heals()
        await more(well=True)

    troubled = asyncio.create_task(trouble())
    number = 0
    async with asyncio.timeout(60):
        while not troubled.done():
            await asyncio.gather(*(call(number + each) for each in range(8)))
            number += 8
    await troubled
    runs = Counter(marks.read_text().split())
    assert max(runs.values()) == 1
    assert outcomes.total() == number
    never_ran = sum(count for said, count in outcomes.items() if said.endswith(("_UNAVAILABLE NO", "_NOT_FOUND NO", "_EPOCH NO")))
    assert len(runs) == number - never_ran, outcomes
    assert outcomes["written"]
    assert never_ran
