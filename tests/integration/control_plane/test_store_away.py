"""What goes on while the store is away, and what fails at once."""

from typing import Any

import grpc
import pytest

from snakepit.errors import (
    PoolNotFound,
    PoolNotReady,
    StoreUnavailable,
)
from snakepit.v1 import link_pb2, link_pb2_grpc
from snakepit_control_plane.server import make_store
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import Caller, calling, eventually, replica
from support.redis_server import redis_server
from support.simulated_agent import POOL, simulated_agent


async def test_while_redis_is_away_known_bindings_go_on_and_store_needs_fail_at_once() -> None:
    with redis_server() as redis:
        async with replica(make_store(redis.url)) as server, grpc.aio.insecure_channel(server.address) as channel:
            caller = Caller(channel)
            async with simulated_agent(server.address, workers=2) as agent:
                await caller.create("s")
                await caller.create("unbound")
                bound = await caller.call("echo", session_id="s")
                redis.kill()
                with pytest.raises(StoreUnavailable):
                    await caller.create("t")
                assert (await caller.call("echo", session_id="s")).worker == bound.worker
                assert (await caller.call("echo")).worker
                with pytest.raises(StoreUnavailable):
                    await caller.call("echo", session_id="unbound")
                assert not server.not_ready()
                assert set(agent.lives) == set(server.flow.pools[POOL].workers)
                redis.start()
                await eventually(lambda: not server.store.problem)
                await caller.create("t")
                assert (await caller.call("echo", session_id="t")).worker


async def test_redis_absent_at_the_start_is_no_reason_not_to_serve() -> None:
    with redis_server() as redis:
        redis.kill()
        async with (
            replica(make_store(redis.url)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
            simulated_agent(server.address),
        ):
            assert (await Caller(channel).call("echo")).worker
            with pytest.raises(StoreUnavailable):
                await Caller(channel).create("s")


async def test_a_client_hears_with_its_welcome_that_the_replica_has_started_without_its_store() -> None:
    """Before it can send a call there. Later, the first one would be on its way already."""
    store, hello = MemoryStore(), link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT)
    store.problem = "it is away"
    async with replica(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        stream = link_pb2_grpc.LinkServiceStub(channel).Link()
        await stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
        first: Any = await stream.read()
        assert [frame.WhichOneof("kind") for frame in first.frames] == ["welcome", "replica_status"]
        assert first.frames[1].replica_status.store_unavailable
        stream.cancel()


async def test_a_replica_that_starts_without_its_store_does_not_say_that_there_is_no_pool_before_it_can_know() -> None:
    with redis_server() as redis:
        redis.kill()
        async with replica(make_store(redis.url)) as server, calling(server.address) as caller:
            with pytest.raises(PoolNotReady, match="not known here yet"):
                await caller.call("echo")
            redis.start()
            async with simulated_agent(server.address):
                await eventually(lambda: not server.not_ready())
                assert (await caller.call("echo")).worker
                with pytest.raises(PoolNotFound):
                    await caller.call("echo", pool="default/other")
