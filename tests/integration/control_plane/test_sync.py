"""What the operator and a replica tell each other."""

import asyncio

import grpc
import pytest

from snakepit import Client
from snakepit._wire.messages import settings_digest
from snakepit.errors import PoolNotFound
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc
from snakepit_control_plane.server import Running, serve
from snakepit_control_plane.settings import Settings
from support.control_plane import Caller, eventually
from support.simulated_agent import POOL, settings, simulated_agent


async def test_the_operator_syncs_settings_in_and_the_fleets_state_out(server: Running, caller: Caller) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        sync = fleet_pb2_grpc.FleetServiceStub(channel).Sync()
        await sync.write(fleet_pb2.SyncRequest(pools=[settings(generation=5)], complete=True))
        first = await sync.read()
        assert (first.session_store_ready, first.pools[0].pool.generation) == (True, 5)
        assert not first.pools[0].pool.available
        async with simulated_agent(server.address, settings=settings(generation=4), pod_uid="uid-1") as agent:
            state = await next_state(sync, lambda state: state.pools[0].pool.available)
            assert state.pools[0].capsules[0].name == "capsule-0"
            assert state.pools[0].pool.generation == 5
            await sync.write(fleet_pb2.SyncRequest(pools=[settings(generation=5)], complete=True, drain_capsules=["uid-1"]))
            await eventually(lambda: any(frame.WhichOneof("kind") == "drain" for frame in agent.frames))
            await next_state(sync, lambda state: not state.pools[0].pool.available)
            await sync.write(fleet_pb2.SyncRequest(complete=True))
            await next_state(sync, lambda state: not state.pools)
            with pytest.raises(PoolNotFound):
                await caller.call("echo")
        sync.cancel()


async def test_a_replica_that_is_told_all_pools_at_its_start_knows_them_before_anybody_can_ask() -> None:
    running = await serve(Settings(listen="127.0.0.1:0", metrics=None, linger_seconds=0.0), pools=[settings()])
    try:
        assert not running.not_ready()
        async with Client(running.address) as client:
            assert (await client.pool(POOL).info()).name == POOL
            with pytest.raises(PoolNotFound, match=POOL):
                await client.pool("tset").info()
    finally:
        await running.stop(linger=0, drain=0)


async def test_the_operator_hears_which_agents_were_told_to_drain_and_which_only_end_or_are_held(server: Running) -> None:
    async with (
        grpc.aio.insecure_channel(server.address) as channel,
        simulated_agent(server.address, name="told", pod_uid="uid-0") as told,
        simulated_agent(server.address, name="ends", pod_uid="uid-1") as ends,
        simulated_agent(server.address, name="held", pod_uid="uid-2"),
    ):
        sync = fleet_pb2_grpc.FleetServiceStub(channel).Sync()
        await sync.write(fleet_pb2.SyncRequest(pools=[settings()], complete=True, held_capsules=["uid-2"]))
        told.draining, told.told_to_drain, ends.draining = True, True, True
        ends.report()
        told.report()
        state = await next_state(sync, lambda state: any(each.draining for pool in state.pools for each in pool.capsules))
        assert {each.name: each.draining for each in state.pools[0].capsules} == {"told": True, "ends": False, "held": False}
        sync.cancel()


async def test_what_changes_is_told_alone_and_heartbeats_without_news_are_not(server: Running) -> None:
    quiet = settings("default/quiet")
    async with grpc.aio.insecure_channel(server.address) as channel:
        sync = fleet_pb2_grpc.FleetServiceStub(channel).Sync()
        await sync.write(fleet_pb2.SyncRequest(pools=[settings(), quiet], complete=True, version=1))
        first = await next_state(sync, lambda state: state.version == 1 and not state.partial)
        assert len(first.pools) == 2
        async with simulated_agent(server.address) as agent:
            told = await next_state(sync, lambda state: state.partial and any(each.pool.available for each in state.pools))
            assert [each.pool.name for each in told.pools] == [agent.pool]
            (capsule,) = told.pools[0].capsules
            assert (capsule.ready_workers, list(capsule.workers)) == (1, [])
            await beats(server, 2)  # Reports that came with the link are through.
            count = server.fleet.changes.count
            await beats(server, 3)
            assert server.fleet.changes.count == count
            both = [agent.pool, quiet.pool]
            await sync.write(fleet_pb2.SyncRequest(complete=True, names=both, version=2))
            whole = await next_state(sync, lambda state: state.version == 2)
            assert (len(whole.pools), whole.partial) == (2, False)
            edited = settings("default/quiet", generation=2)
            await sync.write(fleet_pb2.SyncRequest(complete=True, names=both, pools=[edited], version=3, changes_only=True))
            brief = await next_state(sync, lambda state: state.version == 3)
            assert ([each.settings_digest for each in brief.pools], brief.partial) == ([settings_digest(edited)], True)
            await sync.write(fleet_pb2.SyncRequest(complete=True, names=both, version=4, changes_only=True))
            same = await next_state(sync, lambda state: state.version == 4)
            assert (list(same.pools), same.partial) == ([], True)
            await sync.write(fleet_pb2.SyncRequest(complete=True, names=[agent.pool], version=5, changes_only=True))
            fewer = await next_state(sync, lambda state: state.version == 5)
            assert ([each.pool.name for each in fewer.pools], fewer.partial) == ([agent.pool], False), "what is gone no partial answer says"
        sync.cancel()


async def test_the_operator_hears_how_lives_of_workers_ended(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel, simulated_agent(server.address) as agent:
        sync = fleet_pb2_grpc.FleetServiceStub(channel).Sync()
        await sync.write(fleet_pb2.SyncRequest(pools=[settings()], complete=True))
        first = await next_state(sync, lambda state: state.pools[0].pool.available)
        assert dict(first.pools[0].ended) == {}
        for reason in ("Crashed", "OOMKilled", "OOMKilled"):
            agent.replace_worker("capsule-0/0", reason)
            await eventually(lambda: agent.lives["capsule-0/0"] == server.flow.pools[POOL].workers["capsule-0/0"].incarnation)
        state = await next_state(sync, lambda state: len(state.pools) == 1 and sum(state.pools[0].ended.values()) == 3)
        assert dict(state.pools[0].ended) == {"crashed": 1, "oom": 2}
        sync.cancel()


async def beats(server: Running, count: int) -> None:
    """So many heartbeats of the pool's capsule come."""
    (capsule,) = server.flow.pools[POOL].capsules.values()
    for _ in range(count):
        heard = capsule.heard
        await eventually(lambda heard=heard: capsule.heard > heard)


async def next_state(sync: object, wanted: object) -> fleet_pb2.SyncResponse:
    async with asyncio.timeout(10):
        while not wanted(state := await sync.read()):  # type: ignore[operator, attr-defined]
            pass
        return state
