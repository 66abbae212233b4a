"""Lives and ends of sessions: what survives whom, who sees what when, and who is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from snakepit.author.state import CACHE_SECONDS
from snakepit.errors import SessionNotFound
from snakepit.v1 import session_pb2
from snakepit_control_plane.server import make_store
from support.capsules import At
from support.control_plane import STRICT_QUEUE, Caller, eventually, replica, rpc
from support.ports import free_port
from support.simulated_agent import POOL

if TYPE_CHECKING:
    from conftest import World

    from support.redis_server import RedisServer


def values(answer: Any) -> list[Any]:
    """What `recall` answers: value, version, process."""
    value, version, pid = answer.json.list_value.values
    return [value.string_value or value.number_value, int(version.number_value), int(pid.number_value)]


async def remember(side: Caller, value: str, **fields: Any) -> Any:
    return await side.call("remember", {"key": "k", "value": value}, session_id="s", **fields)


async def recall(side: Caller, **fields: Any) -> list[Any]:
    return values(await side.call("recall", {"key": "k"}, session_id="s", **fields))


async def until_unlinked(world: World, name: str) -> None:
    """Both replicas have noticed that its link broke; calls that come now find it in doubt."""

    def linked() -> bool:
        return any(
            capsule.linked for server in world.servers for capsule in server.flow.pools[POOL].capsules.values() if capsule.name == name
        )

    await eventually(lambda: not linked(), "broken links")


async def test_a_session_and_its_state_survive_worker_capsule_and_control_plane(world: World, redis: RedisServer) -> None:
    later = At(free_port())
    async with world.capsule(0, 1) as first:
        await world.sides[0].create("s")
        bound = await remember(world.sides[0], "kept")
        (worker,) = await world.workers(world.sides[0])
        os.kill(worker.pid, signal.SIGKILL)
        for side in world.sides:
            await world.until_ready(side, 1, without=bound.incarnation)
        assert (await recall(world.sides[1]))[:2] == ["kept", 1]
        async with world.capsule(1, 1, later):
            first.agent.cancel()
            await until_unlinked(world, "sample-0")
            assert (await recall(world.sides[0]))[:2] == ["kept", 1]
            store = make_store(redis.url)
            async with replica(store, listen=later.address) as another, grpc.aio.insecure_channel(another.address) as channel:
                side = Caller(channel)
                for server in world.servers[:2]:
                    await server.stop(linger=0, drain=0)
                await world.until_ready(side, 1)
                assert (await recall(side))[:2] == ["kept", 1]
                assert (await side.session("s")).epoch == 3


async def test_an_ordered_session_waits_for_the_verdict_on_a_capsule_that_is_silent_and_then_goes_on_elsewhere(world: World) -> None:
    beat = {"intervalSeconds": 0.2, "timeoutSeconds": 3, "missThreshold": 3}
    async with world.capsule(0, processes=1, heartbeat=beat) as first:
        await world.sides[0].create("s")
        await remember(world.sides[0], "kept")
        async with world.capsule(1, processes=1, heartbeat=beat):
            began = time.monotonic()
            first.agent.cancel()
            await until_unlinked(world, "sample-0")
            calls = [asyncio.create_task(recall(side)) for side in world.sides]
            other = await world.sides[1].call("where")
            assert not any(call.done() for call in calls), "it moved while its agent might have lived"
            assert {tuple(await call) for call in calls} == {("kept", 1, int(other.json.number_value))}
            assert time.monotonic() - began > 1.5, "heartbeat.timeoutSeconds is 3, and the last heartbeat was a moment before"
            assert (await world.sides[0].session("s")).epoch == 2


async def test_a_replica_that_has_just_started_follows_the_bindings_that_it_finds(world: World, redis: RedisServer) -> None:
    later, store = At(free_port()), make_store(redis.url)
    async with world.capsule(0, 3, later):
        await world.sides[0].create("s")
        bound = await world.sides[0].call("where", session_id="s")
        running = world.wait(0, "first", session_id="s")
        await world.until("begin first")
        async with replica(store, listen=later.address) as another, grpc.aio.insecure_channel(another.address) as channel:
            early = Caller(channel).start("where", session_id="s", pool=POOL, affinity=STRICT_QUEUE)
            await eventually(lambda: another.flow.pools[POOL].workers, "the agent links to it")
            assert not early.done()
            world.open()
            assert (await running).incarnation == (await early).incarnation == bound.incarnation
        assert (await world.sides[0].session("s")).epoch == 1


async def test_reads_come_from_the_workers_cache_writes_go_through_and_a_write_elsewhere_is_seen_within_a_second(world: World) -> None:
    async with world.capsule(0, processes=1):
        await world.sides[0].create("s")
        await remember(world.sides[0], "first")
        assert (await recall(world.sides[1]))[:2] == ["first", 1]
        wrote = time.monotonic()
        written = await put(world.sides[1], "second")
        assert (written.written, written.version) == (True, 2)
        asked = time.monotonic()
        while (seen := await recall(world.sides[0]))[0] == "first":
            assert asked < wrote + CACHE_SECONDS, "whoever asks a second after the write sees it"
            await asyncio.sleep(0.02)
            asked = time.monotonic()
        assert seen[:2] == ["second", 2]
        await remember(world.sides[0], "third")
        stored = await rpc(world.sides[1].sessions.GetState(session_pb2.GetStateRequest(pool=POOL, session_id="s", key="k")))
        assert (stored.value.json.string_value, stored.version) == ("third", 3)
        assert (await recall(world.sides[1]))[:2] == ["third", 3]


async def test_compare_and_set_from_a_tool_and_from_a_client_report_conflicts_to_each_other(world: World) -> None:
    async with world.capsule(0, processes=1):
        await world.sides[0].create("s")
        assert (await put(world.sides[0], "client", expected=0)).written
        assert not await swap(world.sides[1], "tool", 0)
        assert await swap(world.sides[1], "tool", 1)
        refused = await put(world.sides[0], "client", expected=1)
        assert (refused.written, refused.version) == (False, 2)
        await rpc(world.sides[0].sessions.DeleteState(session_pb2.DeleteStateRequest(pool=POOL, session_id="s", key="k")))
        assert not await swap(world.sides[1], "tool", 2)
        assert (await put(world.sides[0], "again", expected=0)).version == 3


async def put(side: Caller, value: str, expected: int | None = None) -> session_pb2.SetStateResponse:
    request = session_pb2.SetStateRequest(pool=POOL, session_id="s", key="k")
    request.value.json.string_value = value
    if expected is not None:
        request.expected_version = expected
    response: session_pb2.SetStateResponse = await rpc(side.sessions.SetState(request))
    return response


async def swap(side: Caller, value: str, expected: int) -> bool:
    answer = await side.call("swap", {"key": "k", "value": value, "expected": expected}, session_id="s")
    return bool(answer.json.bool_value)


@pytest.mark.parametrize("end", ["deleted", "expired", "moved"])
async def test_the_worker_is_told_when_a_session_ends_for_it(world: World, end: str) -> None:
    async with world.capsule(0, processes=2):
        await world.sides[0].create("s", ttl_seconds=3 if end == "expired" else 60)
        for side in world.sides:
            await side.call("where", {"journal": world.journal}, session_id="s")
        if end == "deleted":
            await rpc(world.sides[1].sessions.DeleteSession(session_pb2.DeleteSessionRequest(pool=POOL, session_id="s")))
        elif end == "moved":
            await world.sides[1].rebind("s")
        await world.until("ended s")
        if end != "moved":
            for side in world.sides:
                with pytest.raises(SessionNotFound):
                    await side.call("where", session_id="s")


@pytest.mark.parametrize("use", ["calls", "a long call", "a call that waits"])
async def test_a_session_in_use_outlives_its_ttl_through_both_replicas_and_then_expires(world: World, use: str) -> None:
    ttl = 3.0
    async with world.capsule(0, processes=1):
        await world.sides[0].create("s", ttl_seconds=ttl)
        await world.sides[0].call("where", session_id="s")
        began = time.monotonic()
        if use != "calls":
            call = world.wait(1, "run", **({"session_id": "s"} if use == "a long call" else {}))
            await world.until("begin run")
        if use == "a call that waits":
            waits = world.sides[0].start("where", session_id="s", affinity=STRICT_QUEUE)
        while time.monotonic() - began < 2 * ttl:
            if use == "calls":
                await world.sides[0].call("where", session_id="s")
            assert (await world.sides[1].session("s")).epoch == 1
            await asyncio.sleep(0.05)
        world.open()
        if use != "calls":
            await call
        if use == "a call that waits":
            await waits
        with pytest.raises(SessionNotFound):
            await ended(world.sides[1])


async def ended(side: Caller) -> None:
    """Looks until the session is not found, which it raises."""
    async with asyncio.timeout(10):
        while True:
            await side.session("s")
            await asyncio.sleep(0.05)


async def test_another_session_of_the_same_name_sees_nothing_of_the_one_before(world: World) -> None:
    async with world.capsule(0, processes=1):
        for value in ("one", "two"):
            await world.sides[0].create("s")
            assert (await recall(world.sides[1]))[1] == 0, "a value of another life came out of the cache"
            await remember(world.sides[0], value)
            await rpc(world.sides[0].sessions.DeleteSession(session_pb2.DeleteSessionRequest(pool=POOL, session_id="s")))
            await eventually(lambda: have_forgotten(world), "both have forgotten it")


async def have_forgotten(world: World) -> bool:
    """Do replicas know nothing of the session any more? One looks into the store for those alone that it has had calls of lately."""
    if all((POOL, "s") not in server.flow.sessions.entries for server in world.servers):
        return True
    with contextlib.suppress(SessionNotFound):
        await recall(world.sides[1])
    return False


async def test_a_store_that_was_flushed_admits_nobody_old(world: World, redis: RedisServer) -> None:
    async with world.capsule(0, drain={"killAfterSeconds": 30}):
        await world.sides[0].create("s")
        old = world.sides[0].start("insist", {"journal": world.journal, "gate": world.gate()}, session_id="s", timeout=20)
        await world.until("begin insist")
        redis.command("FLUSHALL")
        await world.sides[1].create("s")
        await put(world.sides[1], "new")
        world.open()
        await world.until("refused STALE_EPOCH")
        old.cancel()
        assert (await recall(world.sides[1]))[:2] == ["new", 1]
