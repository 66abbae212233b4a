"""A client that can't reach the lane port: its frames are on the gRPC stream, its streams are ExecuteStream's, within the same limits."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

import snakepit
from snakepit.errors import PayloadTooLarge, Started, ToolError
from snakepit_control_plane.server import Running
from support.capsules import capsule, ready, spec
from support.control_plane import counted, eventually, replica
from support.large import MIB, POOL, SAMPLE, go_on
from support.ports import free_port
from support.simulated_agent import SimulatedAgent, settings

pytestmark = [pytest.mark.timeout(150), pytest.mark.usefixtures("nothing_is_left")]


def nobody() -> str:
    """An address at which nobody listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(params=["switched off", "not reached"])
async def client(server: Running, request: pytest.FixtureRequest) -> AsyncIterator[snakepit.Client]:
    async with capsule(spec(SAMPLE), server, pool=POOL):
        async with snakepit.Client(server.address) as agents:
            await ready(agents.pool(POOL))
        if request.param == "not reached":
            server.lanes.port = int(nobody().rpartition(":")[2])
        async with snakepit.Client(server.address, lanes=request.param == "not reached") as client:
            yield client


@pytest.fixture
def pool(client: snakepit.Client) -> snakepit.Pool:
    return client.pool(POOL)


async def test_small_calls_large_ones_and_progress_come_as_with_lanes(server: Running, pool: snakepit.Pool) -> None:
    assert await pool.call("size", {"value": [1]}, timeout=30) == 1
    content = bytes(range(256)) * (3 * MIB // 256)
    assert await pool.call("echo", {"value": content}, timeout=30) == content
    told: list[str] = []
    given = {"size": MIB, "steps": 2, "unused": bytes(MIB)}
    answer = await pool.call("report", given, timeout=30, on_progress=lambda fraction, message: told.append(message))
    assert (len(answer), told) == (MIB, ["step 1", "step 2"])
    assert counted(server, "snakepit_links", role="client", way="stream") == 1
    assert counted(server, "snakepit_links", role="agent", way="lane") == 1


async def test_more_than_a_message_holds_is_refused_both_ways_with_the_limits_name(pool: snakepit.Pool) -> None:
    for tool, arguments, started in (("size", {"value": bytes(4 * MIB + 1)}, Started.NO), ("make", {"size": 5 * MIB}, Started.YES)):
        with pytest.raises(PayloadTooLarge) as refused:
            await pool.call(tool, arguments, timeout=30)
        assert (refused.value.details["limit"], refused.value.started) == ("maxPayloadBytes", started)


async def test_streams_bring_small_chunks_and_large_ones_and_end_as_with_lanes(pool: snakepit.Pool) -> None:
    sizes = [10, 300_000, 20, 3 * MIB, 0, MIB]
    assert [len(chunk) async for chunk in pool.stream("chunks", {"sizes": sizes}, timeout=30)] == sizes
    stream = pool.stream("slices", {"value": bytes(2 * MIB), "fail_at": 3}, timeout=30)
    assert [len(await anext(stream)) for _ in range(3)] == [MIB // 2] * 3
    with pytest.raises(ToolError, match="no more"):
        await anext(stream)


async def test_who_reads_a_stream_hears_how_far_it_is_as_with_lanes(pool: snakepit.Pool, tmp_path: Path) -> None:
    said, given = list[tuple[float, str]](), {"sizes": [1, MIB], "path": str(tmp_path / "step")}
    chunks = pool.stream("awaited", given, timeout=30, on_progress=partial(go_on, tmp_path, said))
    assert [len(chunk) async for chunk in chunks] == [1, MIB]
    assert said == [(0.5, "step 1"), (1.0, "step 2")]
    quiet = pool.stream("murmur", {"seconds": 0.3}, timeout=30)
    assert [chunk async for chunk in quiet] == [1, 2], "who has asked for none gets none"


async def test_a_client_says_once_which_way_it_takes(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "snakepit.client")
    for lanes, way in ((True, "frames take a lane"), (False, "all takes gRPC")):
        caplog.clear()
        async with snakepit.Client(server.address, lanes=lanes) as client:
            await client.pools()
        assert [way in record.message for record in caplog.records if "linked to the control plane" in record.message] == [True]


async def test_an_agent_that_can_not_reach_the_lane_port_has_no_link_and_the_pool_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async with replica() as server:
        unreached, server.lanes.port = server.lanes.port, int(nobody().rpartition(":")[2])
        async with capsule(spec(SAMPLE), server, pool=POOL), snakepit.Client(server.address) as client:
            sentence = f"can't reach port {server.lanes.port} of the control plane, where links have their lanes"
            await told(server, sentence)
            assert sentence in caplog.text
            server.lanes.port = unreached
            await ready(client.pool(POOL))
            await told(server, "")


async def test_what_the_pool_says_of_the_lane_port_ends_with_the_link_that_has_a_lane_and_waits_for_no_report() -> None:
    async with replica() as server:
        unreached, server.lanes.port = server.lanes.port, int(nobody().rpartition(":")[2])
        agent = SimulatedAgent(server.address, pool=POOL, settings=settings(POOL, heartbeat={"timeoutSeconds": 60}))
        agent.silent = True
        agent.dial()
        try:
            await told(server, "can't reach port")
            server.lanes.port = unreached
            await told(server, "")
        finally:
            await agent.stop()


async def told(server: Running, problem: str) -> None:
    """Wait until the operator is told that, or nothing, of the pool's one capsule."""
    from snakepit_control_plane.servers.fleet import FleetServicer

    fleet = FleetServicer(server.fleet, server.replica, server.door.gate)

    async def said() -> bool:
        problems = [capsule.problem for state in (await fleet.state()).pools for capsule in state.capsules]
        return len(problems) == 1 and (problem in problems[0] if problem else not problems[0])

    await eventually(said)
