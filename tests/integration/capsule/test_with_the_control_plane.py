"""The agent, the keeper and workers behind a real control-plane replica: the whole way of a call but the SDK."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

from snakepit.errors import SnakepitError, WorkerLost
from snakepit.v1 import pool_pb2
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS, Caller, outcome
from support.families import HELPERS, descendants
from support.pool_of_one import ready, workers
from support.simulated_agent import POOL

CRASHERS = {"worker": {"processes": 8}, "restart": {"maxRestarts": 100}}


async def test_calls_streams_and_sessions_go_all_the_way(server: Running, caller: Caller) -> None:
    async with capsule(spec("support.sample:Sample", worker={"processes": 2}), server, pool=POOL):
        await ready(caller, 2)
        assert (await caller.call("add", {"a": 2, "b": 3})).json.number_value == 5
        pieces = [response async for response in caller.stream("count", {"to": 20})]
        assert [piece.json.number_value for piece in pieces if piece.WhichOneof("outcome")] == list(range(20))
        await caller.create("s")
        assert (await caller.call("remember", {"key": "k", "value": "v"}, session_id="s")).json.number_value == 1
        assert (await caller.call("recall", {"key": "k"}, session_id="s")).json.string_value == "v"


async def test_many_calls_at_once_all_come_back(server: Running, caller: Caller) -> None:
    async with capsule(spec("support.sample:Sample", worker={"processes": 2}), server, pool=POOL):
        await ready(caller, 2)
        answers = await asyncio.gather(*[caller.call("echo", {"value": i}) for i in range(500)])
        assert [answer.json.number_value for answer in answers] == list(range(500))


async def test_a_crash_storm_under_load_is_accounted_for_call_by_call(server: Running, caller: Caller) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    kills = 0
    async with capsule(spec("support.stubborn:Stubborn", **CRASHERS), server, pool=POOL) as local:
        await ready(caller, 8)
        load = [asyncio.create_task(keep_calling(caller, i)) for i in range(16)]
        for _ in range(40):
            for worker in chance.sample(await workers(caller), 2):
                kills += worker.pid > 0 and kill(worker.pid)
            await asyncio.sleep(0.025)  # The storm's own rhythm, not a wait for anything.
        for task in load:
            task.cancel()
        failed = [error for task in load for error in await task]
        assert {(type(error), error.details.get("how")) for error in failed} == {(WorkerLost, "signal 9")}, "the storm took calls with it"
        assert len(failed) <= kills, "a worker of one slot takes one call with it"
        await ready(caller, 8)
        assert (await caller.call("echo", {"value": 7})).json.number_value == 7
        assert local.keeper is not None
        await only(8, local.keeper.pid)


async def only(workers: int, keeper: int) -> None:
    """Of a keeper's: so many workers, its helpers, and no zombie."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(family := descendants(keeper)) != workers + HELPERS or any("(dead)" in name for name in family.values()):
            await asyncio.sleep(0.01)


def kill(pid: int) -> bool:
    """False: it was dead."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


async def keep_calling(caller: Caller, number: int) -> list[SnakepitError]:
    """Call until cancelled; what failed."""
    failed = []
    try:
        while True:
            answer = await outcome(caller.start("nap", {"value": number}))
            if isinstance(answer, SnakepitError):
                failed.append(answer)
            else:
                assert answer.json.number_value == number
    except asyncio.CancelledError:
        return failed


async def test_whoever_drains_every_worker_of_a_pool_has_not_ended_it(server: Running, caller: Caller) -> None:
    async with capsule(spec("support.sample:Sample", worker={"processes": 3}), server, pool=POOL):
        before = {worker.id: worker.incarnation for worker in await ready(caller, 3)}
        for worker in before:
            await caller.pools.DrainWorker(pool_pb2.DrainWorkerRequest(pool=POOL, worker=worker), timeout=PATIENCE_SECONDS)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while set(before.values()) & {worker.incarnation for worker in await workers(caller)}:
                assert (await caller.call("echo", {"value": 1})).json.number_value == 1
        assert {worker.id for worker in await ready(caller, 3)} == set(before)
        assert (await caller.call("echo", {"value": 2})).json.number_value == 2
