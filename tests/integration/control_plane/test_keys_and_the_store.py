"""What becomes of idempotency keys while the store and the replicas come and go."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit.errors import (
    Started,
    StoreUnavailable,
    WorkerLost,
)
from snakepit_control_plane.store.connection import ANSWER_SECONDS
from support.control_plane import calling, eventually, outcome
from support.pairs import pair, value
from support.ports import free_port
from support.redis_server import RedisServer
from support.simulated_agent import simulated_agent

PROGRAM = [sys.executable, "-m", "snakepit_control_plane.main"]


async def test_with_the_store_away_a_key_is_refused_at_once_and_other_calls_go_on(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url) as two:
        two.let_go()
        own_redis.kill()
        await eventually(lambda: two.servers[0].store.problem)
        took = []
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable) as refused:
                await two.callers[0].call("work", idempotency_key=key)
            took.append(time.monotonic() - began)
            assert refused.value.started is Started.NO
        assert min(took) < ANSWER_SECONDS, "none of them waited for an answer"
        assert (await two.callers[0].call("work")).worker
        own_redis.start()
        await eventually(lambda: not two.servers[0].store.problem)
        assert (await two.callers[0].call("work", idempotency_key=key)).worker
        assert len(two.ran) == 2


async def test_a_result_that_the_store_could_not_take_is_answered_and_stored_when_it_is_back(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url) as two:
        first = two.callers[0].start("work", idempotency_key=key)
        await eventually(lambda: two.ran)
        own_redis.freeze()
        two.let_go()
        assert value(await first) == 1
        assert value(await two.callers[0].call("work", idempotency_key=key)) == 1
        own_redis.thaw()
        await eventually(lambda: not two.servers[0].flow.idempotency.upkeep.entries)
        await eventually(lambda: not two.servers[1].store.problem)
        assert value(await two.callers[1].call("work", idempotency_key=key)) == 1
        assert len(two.ran) == 1


async def test_a_claim_that_may_have_reached_a_hanging_store_does_not_keep_the_key(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url) as two:
        two.let_go()
        own_redis.freeze()
        with pytest.raises(StoreUnavailable) as refused:
            await two.callers[0].call("work", idempotency_key=key)
        assert refused.value.started is Started.NO
        own_redis.thaw()
        await eventually(lambda: not two.servers[1].store.problem)
        assert value(await two.callers[1].call("work", idempotency_key=key)) == 1
        assert len(two.ran) == 1


async def test_after_a_flush_the_running_claim_is_written_down_again(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url) as two:
        first = two.callers[0].start("work", idempotency_key=key)
        await eventually(lambda: two.ran)
        own_redis.command("FLUSHALL")
        await eventually(lambda: b"call:" in own_redis.command("KEYS", "*"))
        repeat = two.callers[1].start("work", idempotency_key=key)
        await eventually(lambda: two.waiting() == 2)
        two.let_go()
        assert [value(await first), value(await repeat)] == [1, 1]
        assert len(two.ran) == 1


async def test_a_repeat_after_a_restart_of_the_control_plane_gets_the_stored_result(shared_redis: RedisServer, key: str) -> None:
    async with pair(shared_redis.url) as two:
        two.let_go()
        await two.callers[0].call("work", idempotency_key=key)
    async with pair(shared_redis.url) as two:
        assert value(await two.callers[0].call("work", idempotency_key=key)) == 1
        assert not two.ran


async def test_a_replica_that_stops_stores_the_outcome_of_what_it_lets_finish(shared_redis: RedisServer, key: str) -> None:
    async with pair(shared_redis.url) as two:
        first = two.callers[0].start("work", idempotency_key=key)
        await eventually(lambda: two.ran)
        first.cancel()
        stopping = asyncio.create_task(two.servers[0].stop(linger=0, drain=5))
        await eventually(lambda: two.servers[0].stopping)
        repeat = two.callers[1].start("work", idempotency_key=key)
        await eventually(lambda: two.waiting() == 1)
        two.let_go()
        assert value(await repeat) == 1
        await stopping
        assert len(two.ran) == 1


@contextlib.contextmanager
def replica_process(store: str, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    address = f"127.0.0.1:{free_port()}"
    environment = {"SNAKEPIT_LISTEN": address, "SNAKEPIT_METRICS_LISTEN": "off", "SNAKEPIT_STORE": store}
    with log.open("wb") as output, subprocess.Popen(PROGRAM, env={**os.environ, **environment}, stderr=output) as process:
        try:
            yield process, address
        finally:
            process.kill()


def serves(process: subprocess.Popen[bytes], log: Path) -> bool:
    said = log.read_text()
    assert process.poll() is None, said
    return "serves on" in said


async def test_the_call_of_a_replica_killed_with_9_becomes_worker_lost_maybe(shared_redis: RedisServer, key: str, tmp_path: Path) -> None:
    async with pair(shared_redis.url) as two:
        with replica_process(shared_redis.url, tmp_path / "log") as (process, address):
            await eventually(lambda: serves(process, tmp_path / "log"), "it serves", seconds=30)
            async with simulated_agent(address, name="capsule-9") as agent, calling(address) as caller:
                doomed = caller.start("hang", idempotency_key=key)
                await eventually(lambda: agent.running)
                repeat = two.callers[0].start("hang", idempotency_key=key)
                await eventually(lambda: two.waiting() == 1)
                process.send_signal(signal.SIGKILL)
                for result in (await outcome(repeat), await outcome(two.callers[1].start("hang", idempotency_key=key))):
                    assert isinstance(result, WorkerLost)
                    assert (result.started, result.details["how"]) == (Started.MAYBE, "replica lost")
                await asyncio.gather(doomed, return_exceptions=True)
        assert not any(agent.calls for agent in two.agents)
