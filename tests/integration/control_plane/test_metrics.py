"""What a scrape says of queues, workers, sessions and the store, read by Prometheus' own parser."""

from __future__ import annotations

import asyncio
import time

import pytest

from snakepit._telemetry.metrics import rows_of
from snakepit.errors import SessionWorkerUnavailable, StateQuota, StoreUnavailable
from snakepit.v1 import common_pb2, link_pb2, pool_pb2, session_pb2
from snakepit_control_plane import telemetry
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.redis import RedisStore
from snakepit_control_plane.store.urls import parse_store_url
from support.control_plane import STRICT_QUEUE, Caller, calling, counted, eventually, outcome, replica, rpc, scrape, waiting
from support.metrics import scraped
from support.redis_server import redis_server
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent
from support.simulated_tools import payload


async def test_queues_slots_workers_and_capsules_are_told_as_they_are(server: Running, caller: Caller) -> None:
    async with (
        simulated_agent(server.address, workers=2) as agent,
        simulated_agent(server.address, name="capsule-1", state=pool_pb2.WORKER_STATE_BACKOFF, reason="SetupFailed"),
    ):
        first = [caller.start("hang") for _ in range(2)]
        await eventually(lambda: len(agent.running) == 2)
        later = [caller.start("hang", priority=common_pb2.PRIORITY_HIGH), caller.start("hang", priority=common_pb2.PRIORITY_LOW)]
        await eventually(lambda: waiting(server) == 2)
        found = await scrape(server)
        depths = {priority: found["snakepit_queue_depth", (priority,)] for priority in ("high", "normal", "low")}
        assert depths == {"high": 1, "normal": 0, "low": 1}
        assert (found["snakepit_slots", ("busy",)], found["snakepit_slots", ("free",)]) == (2, 0)
        assert (found["snakepit_workers", ("ready",)], found["snakepit_workers", ("backoff",)]) == (2, 1)
        assert (found["snakepit_capsules", ("ready",)], found["snakepit_capsules", ("starting",)]) == (1, 1)
        agent.let_go()
        await asyncio.gather(*first, *later)
        found = await scrape(server)
        waits = {priority: found["snakepit_queue_wait_seconds_count", (priority,)] for priority in ("high", "low")}
        assert waits == {"high": 1, "low": 1}


async def test_a_capsule_whose_link_breaks_is_suspect_and_so_are_its_workers(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2):
        await caller.call("echo")
    await eventually(lambda: counted(server, "snakepit_capsules_suspected_total", pool=POOL) == 1)
    found = await scrape(server)
    assert (found["snakepit_capsules", ("ready",)], found["snakepit_capsules", ("suspect",)]) == (0, 1)
    assert (found["snakepit_workers", ("ready",)], found["snakepit_workers", ("suspect",)]) == (0, 2)


async def test_sessions_are_counted_as_they_are_created_and_move(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        await caller.create("s")
        await caller.create("s")
        bound = (await caller.call("echo", session_id="s")).worker
        busy = [caller.start("hang") for _ in range(2)]
        await eventually(lambda: len(agent.running) == 2)
        agent.cancel(next(call.id for call, _ in agent.running.values() if call.worker != bound))
        await caller.call("echo", session_id="s")
        agent.let_go()
        await asyncio.gather(*map(outcome, busy))
        await rpc(caller.sessions.RebindSession(session_pb2.RebindSessionRequest(pool=POOL, session_id="s")))
        await caller.call("echo", session_id="s")
        found = await scrape(server)
    assert found["snakepit_sessions_created_total", ()] == 1
    moved = {labels: value for (name, labels), value in found.items() if name == "snakepit_sessions_moved_total"}
    assert moved == {("busy",): 1, ("rebind",): 1}


async def test_a_session_that_was_bound_to_no_worker_does_not_move_when_it_is_let_go(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        await caller.create("s")
        await caller.rebind("s")
        await caller.call("echo", session_id="s")
        for _ in range(2):
            await caller.rebind("s")
    assert counted(server, "snakepit_sessions_moved_total", pool=POOL, reason="rebind") == 1


async def test_a_strict_session_whose_worker_crashed_is_lost_once_however_many_calls_are_told(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        await caller.create("s")
        bound = (await caller.call("echo", session_id="s")).worker
        agent.replace_worker(bound)
        for _ in range(3):
            with pytest.raises(SessionWorkerUnavailable):
                await caller.call("echo", session_id="s", affinity=STRICT_QUEUE)
        # Its callers don't wait for the store, which says who is the first to know.
        await eventually(lambda: counted(server, "snakepit_sessions_lost_total", pool=POOL, reason="crashed"))
        found = await scrape(server)
    lost = {labels: value for (name, labels), value in found.items() if name == "snakepit_sessions_lost_total"}
    assert lost == {("crashed",): 1}


async def test_a_session_that_the_store_has_lost_while_it_was_used_is_counted_and_one_that_was_deleted_is_not() -> None:
    names = ("deleted", "lost")
    with redis_server() as redis:
        stores = [RedisStore(parse_store_url(redis.url)) for _ in range(2)]
        async with (
            replica(stores[0]) as server,
            replica(stores[1]) as other,
            calling(server.address) as caller,
            calling(other.address) as deletes,
            simulated_agent(server.address, workers=2) as agent,
            simulated_agent(other.address, name="capsule-1"),
        ):
            for name in names:
                await caller.create(name)
            calls = [caller.start("hang", session_id=name) for name in names]
            await eventually(lambda: len(agent.running) == 2)
            await rpc(deletes.sessions.DeleteSession(session_pb2.DeleteSessionRequest(pool=POOL, session_id="deleted")))
            redis.command("DEL", f"snakepit:{{{POOL}}}:session:lost")
            entries = [server.flow.sessions.entries[POOL, name] for name in names]
            await eventually(lambda: [entry.record for entry in entries] == [None, None])
            # The store is asked why first, and only then is it counted.
            await eventually(lambda: counted(server, "snakepit_sessions_lost_total", pool=POOL, reason="store") == 1)
            agent.let_go()
            await asyncio.gather(*calls)
            assert counted(server, "snakepit_sessions_lost_total", pool=POOL, reason="store") == 1


async def test_operations_on_state_are_counted_whoever_asks_for_them(server: Running, caller: Caller) -> None:
    async def remember(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        await agent.ask_state(call, set=link_pb2.StateRequest.Set(key="k", value=payload(41)))
        await agent.ask_state(call, keys=link_pb2.StateRequest.Keys())
        stale = link_pb2.Call()
        stale.CopyFrom(call)
        stale.session_epoch += 1
        await agent.ask_state(stale, get=link_pb2.StateRequest.Get(key="k"))
        return link_pb2.Result(payload=payload(None))

    tiny = settings(session={"maxValueBytes": 8})
    async with simulated_agent(server.address, tools={"remember": remember}, settings=tiny):
        await caller.create("s")
        await caller.call("remember", session_id="s")
        of = {"pool": POOL, "session_id": "s"}
        await rpc(caller.sessions.GetState(session_pb2.GetStateRequest(**of, key="k")))
        await rpc(caller.sessions.ListState(session_pb2.ListStateRequest(**of)))
        large = session_pb2.SetStateRequest(**of, key="k")
        large.value.json.string_value = "more than eight"
        with pytest.raises(StateQuota):
            await rpc(caller.sessions.SetState(large))
        await rpc(caller.sessions.DeleteState(session_pb2.DeleteStateRequest(**of, key="k")))
        found = await scrape(server)
    counts = {labels: value for (name, labels), value in found.items() if name == "snakepit_state_operations_total"}
    assert counts == {
        ("set", "OK"): 1,
        ("get", "STALE_EPOCH"): 1,
        ("get", "OK"): 1,
        ("list", "OK"): 2,
        ("set", "STATE_QUOTA"): 1,
        ("delete", "OK"): 1,
    }


async def test_a_pool_that_is_gone_leaves_no_series(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        await caller.call("echo")
        running = caller.start("hang")
        await eventually(lambda: agent.running)
        assert ("snakepit_calls_total", ("OK", "echo")) in await scrape(server)
        server.fleet.sync([], complete=True, drain=[])
    await outcome(running)
    await eventually(lambda: POOL not in server.flow.pools)

    async def has_series() -> bool:
        families = await scraped(server.telemetry.registry.application())
        return any(sample.labels.get("pool") == POOL for family in families for sample in family.samples)

    async def is_forgotten() -> bool:  # What its last call has counted goes with the scrape after that.
        return not await has_series()

    await eventually(is_forgotten)


async def test_a_loop_that_was_late_says_so_for_a_while(server: Running) -> None:
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251  # What a loop must never do.
    await eventually(lambda: server.telemetry.lag.worst >= 0.2)
    assert (await scrape(server))["snakepit_event_loop_lag_seconds", ()] >= 0.2


def test_the_lag_of_a_loop_is_its_worst_for_fifteen_seconds_at_least_and_thirty_at_most() -> None:
    lag = telemetry.Lag()
    for second, late in enumerate((0.0, 0.7, 0.0)):
        lag.look(second, late)
    assert lag.worst == 0.7
    lag.look(second + telemetry.LAG_SECONDS, 0.1)
    assert lag.worst == 0.7
    lag.look(second + 2 * telemetry.LAG_SECONDS + 1, 0.2)
    assert lag.worst == 0.2


async def test_a_scrape_names_no_metric_that_the_table_has_not_and_all_that_are_always_there(server: Running) -> None:
    names = {family.name for family in await scraped(server.telemetry.registry.application())}
    assert names == {row.name.removesuffix("_total") for row in rows_of("control-plane")}


async def test_the_store_is_timed_by_operation_and_told_when_it_is_away() -> None:
    with redis_server() as redis:
        async with (
            replica(RedisStore(parse_store_url(redis.url))) as server,
            calling(server.address) as caller,
            simulated_agent(server.address),
        ):
            await caller.create("s")
            found = await scrape(server)
            assert found["snakepit_store_up", ()] == 1
            assert found["snakepit_store_operation_duration_seconds_count", ("create_session",)] == 1
            redis.kill()
            await eventually(lambda: server.store.problem)
            with pytest.raises(StoreUnavailable):
                await caller.create("t")
            found = await scrape(server)
    assert found["snakepit_store_up", ()] == 0
    assert found["snakepit_store_errors_total", ("create_session",)] == 1
