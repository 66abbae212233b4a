"""Links of agents and clients: broken, silent, fenced, of another version; and the services around them."""

import asyncio
import contextlib
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from snakepit._wire.bulk import LaneBroken
from snakepit.errors import Cancelled, Draining, InvalidArguments, ProtocolMismatch, WorkerLost
from snakepit.v1 import common_pb2, link_pb2, link_pb2_grpc, pool_pb2, tool_pb2
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers.lanes import TICKET_SECONDS
from support.attack import ByHand, attacker
from support.bare_client import Client
from support.control_plane import PATIENCE_SECONDS, Caller, counted, eventually, outcome, rpc
from support.metrics import scraped
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent
from support.simulated_tools import payload

QUICK_TIMEOUT = 1.5
QUICK = settings(heartbeat={"intervalSeconds": 0.1, "timeoutSeconds": QUICK_TIMEOUT, "missThreshold": 2})


async def test_open_links_are_counted_by_role_and_by_what_their_frames_take(server: Running, client: Client) -> None:
    def count(role: str, way: str) -> float:
        return counted(server, "snakepit_links", role=role, way=way)

    async with simulated_agent(server.address):
        await eventually(lambda: (count("agent", "lane"), count("client", "lane")) == (1, 1))
        await server.lanes.stop()
        other = Client(server.address)
        await eventually(lambda: count("client", "stream") == 1)
        await other.stop()
        await client.stop()
    await eventually(lambda: not any(count(role, way) for role in ("agent", "client") for way in ("lane", "stream")))


async def test_calls_on_a_clients_link_are_answered_under_the_clients_own_ids(server: Running, client: Client) -> None:
    async with simulated_agent(server.address, workers=2):
        numbers = [client.call("echo") for _ in range(50)]
        await eventually(lambda: len(client.results) == 50)
        assert sorted(client.results) == numbers
        assert {result.call_id for result in client.results.values()} == {f"c{n}" for n in numbers}
        failed = client.call("ecko")
        await eventually(lambda: failed in client.results)
        assert client.results[failed].error.reason == "TOOL_NOT_FOUND"


async def test_a_client_that_goes_away_cancels_its_calls(server: Running, client: Client) -> None:
    async with simulated_agent(server.address) as agent:
        client.call("hang")
        client.call("hang")
        await eventually(lambda: agent.running and server.flow.pools[POOL].queue.depth == 1)
        await client.stop()
        await eventually(lambda: agent.cancelled and server.flow.pools[POOL].queue.depth == 0)


async def test_a_cancel_frame_ends_the_call(server: Running, client: Client) -> None:
    async with simulated_agent(server.address) as agent:
        number = client.call("hang")
        await eventually(lambda: agent.running)
        assert client.replica is not None
        client.replica.link.send(link_pb2.Frame(cancel=link_pb2.Cancel(id=number, reason="CANCELLED")))
        await eventually(lambda: number in client.results)
        assert client.results[number].error.reason == "CANCELLED"


async def test_a_replica_that_has_stopped_links_nobody_who_dials_it_again(server: Running) -> None:
    server.links.go_away()
    server.links.close("this replica stops")
    agent = SimulatedAgent(server.address)
    agent.dial()
    await eventually(lambda: isinstance(agent.refused, Draining))
    assert not server.links.links
    await agent.stop()


async def test_after_a_broken_link_started_calls_go_on_and_the_others_run_again(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        started = caller.start("hang")
        await eventually(lambda: agent.running)
        lost: list[link_pb2.Call] = []
        agent.on_call = lost.append  # Arrives, and is forgotten with the link.
        forgotten = caller.start("echo")
        await eventually(lambda: lost)
        agent.on_call = agent.take
        agent.break_link()
        assert (await forgotten).worker
        agent.let_go()
        assert (await started).json.string_value == "late"
        assert len([call for call in agent.calls if call.tool == "hang"]) == 1


async def test_a_silent_agent_is_suspect_then_lost_and_what_it_ran_is_worker_lost(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, settings=QUICK, beat_seconds=0.1) as agent:
        call = caller.start("hang")
        await eventually(lambda: agent.running)
        capsule = next(iter(server.flow.pools[POOL].capsules.values()))
        agent.silent = True
        await eventually(lambda: capsule.liveness == pool_pb2.LIVENESS_SUSPECT)
        assert not call.done()
        error = await outcome(call)
        assert isinstance(error, WorkerLost)
        assert "lost" in error.details["how"]
        assert capsule.liveness == pool_pb2.LIVENESS_LOST


async def test_most_of_three_agents_silent_at_once_are_not_lost_and_go_on_when_they_are_heard_again(
    server: Running, caller: Caller
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        agents = [
            await stack.enter_async_context(simulated_agent(server.address, name=f"capsule-{n}", settings=QUICK, beat_seconds=0.1))
            for n in range(3)
        ]
        call = caller.start("hang")
        await eventually(lambda: any(agent.running for agent in agents))
        pool = server.flow.pools[POOL]
        for agent in agents:
            agent.report()  # However late its last beat was, all of them are heard for the last time now.
            agent.silent = True
        await eventually(lambda: pool.silence_held)
        silent_since = min(capsule.last_beat for capsule in pool.capsules.values())
        await eventually(lambda: server.flow.clock() - silent_since > 3 * QUICK_TIMEOUT)
        assert {capsule.liveness for capsule in pool.capsules.values()} == {pool_pb2.LIVENESS_SUSPECT}
        assert not call.done()
        for agent in agents:
            agent.silent = False
        await eventually(lambda: not pool.silence_held)
        for agent in agents:
            agent.let_go()
        assert (await call).json.string_value == "late"


async def test_a_beat_makes_a_suspect_agent_live_again(server: Running, caller: Caller) -> None:
    patient = settings(heartbeat={"intervalSeconds": 0.1, "timeoutSeconds": 30, "missThreshold": 2})
    async with simulated_agent(server.address, settings=patient, beat_seconds=0.1) as agent:
        await caller.call("echo")
        agent.silent = True
        capsule = next(iter(server.flow.pools[POOL].capsules.values()))
        await eventually(lambda: capsule.liveness == pool_pb2.LIVENESS_SUSPECT)
        waits = caller.start("echo")
        await eventually(lambda: server.flow.pools[POOL].queue.depth == 1)
        agent.silent = False
        assert (await waits).worker


async def test_an_agent_that_comes_back_after_lost_is_fenced(server: Running, caller: Caller) -> None:
    agent = SimulatedAgent(server.address, settings=QUICK, beat_seconds=0.1)
    await agent.start()
    call = caller.start("hang")
    await eventually(lambda: agent.running)
    agent.silent = True
    assert isinstance(await outcome(call), WorkerLost)
    agent.let_go()
    agent.silent = False
    await eventually(lambda: agent.replica is None)
    assert agent.incarnation not in server.flow.pools[POOL].capsules
    await agent.stop()


async def test_what_an_agent_says_late_of_a_worker_that_has_died_changes_nothing(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        assert agent.replica is not None
        await caller.create("s")
        lost = caller.start("hang", session_id="s")
        await eventually(lambda: agent.running)
        (old,) = agent.calls
        agent.replace_worker(old.worker)
        assert isinstance(await outcome(lost), WorkerLost)
        call = caller.start("hang", session_id="s")
        await eventually(lambda: agent.running)
        new = agent.calls[-1]
        assert (new.session_epoch, new.incarnation == old.incarnation) == (2, False)
        agent.send(result=link_pb2.Result(id=old.id, call_id=old.call_id, payload=payload("stale")))
        agent.send(reject=link_pb2.Reject(id=old.id, reason="NO_SLOT"))
        agent.send(progress=link_pb2.Progress(id=old.id, fraction=0.5))
        agent.send(session_released=link_pb2.SessionReleased(session_uid=old.session_uid, session_epoch=1, released=True))
        agent.send(load=link_pb2.Load(workers=[link_pb2.Load.WorkerLoad(worker=old.worker, incarnation=old.incarnation, elsewhere=1)]))
        asked = link_pb2.Call(id=77, call_id="nested", tool="echo", arguments=payload({}))
        agent.send(nested_call=link_pb2.NestedCall(parent=old.id, call=asked))
        written = await agent.ask_state(old, set=link_pb2.StateRequest.Set(key="k", value=payload("stale")))
        assert written.error.reason == "STALE_EPOCH"
        with pytest.raises(LaneBroken, match="is open here"):
            await agent.pipe(old, [link_pb2.Chunk(payload=payload("stale"), last=True)])
        (refused,) = [frame.result.error for frame in agent.frames if frame.WhichOneof("kind") == "result"]
        assert (refused.reason, refused.started) == ("CANCELLED", common_pb2.STARTED_NO)
        assert not call.done()
        agent.let_go()
        assert (await call).json.string_value == "late"
        assert (await caller.call("echo")).incarnation == new.incarnation
        assert len(agent.calls) == 3
        assert not server.flow.calls.count


async def test_a_restarted_agent_replaces_its_predecessor(server: Running, caller: Caller) -> None:
    first = SimulatedAgent(server.address)
    await first.start()
    call = caller.start("hang")
    await eventually(lambda: first.running)
    async with simulated_agent(server.address) as second:
        assert isinstance(await outcome(call), WorkerLost)
        assert (await caller.call("echo")).incarnation == second.lives["capsule-0/0"]
    await first.stop()


async def test_a_workers_death_is_told_at_once_and_the_dead_one_is_never_offered_again(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        call = caller.start("hang")
        await eventually(lambda: agent.running)
        dead = agent.lives["capsule-0/0"]
        agent.replace_worker("capsule-0/0")
        error = await outcome(call)
        assert isinstance(error, WorkerLost)
        assert error.details["how"] == "signal 9"
        assert (await caller.call("echo")).incarnation != dead
        samples = [each for family in await scraped(server.telemetry.registry.application()) for each in family.samples]
        ended = [(each.labels, each.value) for each in samples if each.name == "snakepit_worker_restarts_total"]
        assert ended == [({"pool": POOL, "reason": "crashed"}, 1)]


async def test_another_protocol_version_is_refused_with_a_sentence_and_logged_once_at_either_end(
    server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was each time that the agent dialled, by another port."""
    refusals, line = [], server.links._refused.line  # noqa: SLF001
    monkeypatch.setattr(server.links._refused, "line", lambda *said: refusals.append(said) or line(*said))  # noqa: SLF001
    agent = SimulatedAgent(server.address, protocol=99)
    agent.dial()
    await eventually(lambda: len(refusals) >= 3)
    assert isinstance(agent.refused, ProtocolMismatch)
    said = "(version simulated) speaks protocol 99, this control plane protocol 1: upgrade this control plane"
    assert said in str(agent.refused)
    await agent.stop()
    assert [each.split()[:2] for each in caplog.messages if said in each] == [["link", "refused:"], ["no", "link"]]


async def test_who_gives_up_before_it_has_said_anything_is_no_news(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    """A client that was closed while it dialled had `snakepit dev` warn of a link that it had refused."""
    async with attacker(server) as channel:
        link = ByHand(channel)
        await link.stream.done_writing()
        with pytest.raises(Cancelled, match="before its Hello"):
            await rpc(link.stream.read())
        silent = ByHand(channel)
        await silent.stream.write(link_pb2.LinkRequest())
        with pytest.raises(InvalidArguments, match="must be a Hello"):
            await rpc(silent.stream.read())
    assert [each for each in caplog.messages if "link refused" in each] == ["link refused: the first frame of a link must be a Hello"]


async def test_tools_pools_and_workers_can_be_looked_at(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        tools = await rpc(caller.tools.ListTools(tool_pb2.ListToolsRequest(pool=POOL)))
        assert [tool.name for tool in tools.tools] == ["count", "echo", "fail", "hang"]
        assert tools.description == "Simulated."
        workers = (await rpc(caller.pools.ListWorkers(pool_pb2.ListWorkersRequest(pool=POOL)))).workers
        assert [(w.id, w.state, w.liveness) for w in workers] == [("capsule-0/0", 2, 1), ("capsule-0/1", 2, 1)]
        await rpc(caller.pools.DrainWorker(pool_pb2.DrainWorkerRequest(pool=POOL, worker="capsule-0/1")))
        await eventually(lambda: any(frame.drain.worker == "capsule-0/1" for frame in agent.frames))


@pytest.mark.parametrize("shown", [b"", b"half a t"])
async def test_who_comes_to_the_lanes_port_and_hangs_up_without_a_ticket_leaves_nothing_open(server: Running, shown: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.lanes.port)
    writer.write(shown)
    await eventually(lambda: server.lanes.unshown)
    writer.write_eof()
    came = asyncio.get_running_loop().time()
    assert await reader.read() == b"", "the replica has hung up too"
    await eventually(lambda: not server.lanes.unshown)
    assert asyncio.get_running_loop().time() < came + TICKET_SECONDS, "not only when its time was over"
    writer.close()
    await writer.wait_closed()


async def test_health_reflection_and_metrics_answer(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def serving() -> bool:
            request = health_pb2.HealthCheckRequest(service="snakepit.v1.RouterService")
            return (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING

        async with asyncio.timeout(20):
            while not await serving():
                await asyncio.sleep(0.02)
        info = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await info.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = {service.name for service in (await info.read()).list_services_response.service}
        assert {"snakepit.v1.RouterService", "snakepit.v1.SessionService", "grpc.health.v1.Health"} <= names
        info.cancel()
    url = f"http://{server.metrics_address}/metrics"
    async with simulated_agent(server.address), aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        assert "snakepit_slots" in await response.text()


async def test_a_replica_that_stops_is_not_serving_to_whoever_asks_for_its_health_and_finishes_what_runs(
    server: Running, caller: Caller
) -> None:
    async with simulated_agent(server.address) as agent, grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        call = caller.start("hang")
        await eventually(lambda: agent.running)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="snakepit.v1.RouterService"))
        async with asyncio.timeout(20):
            while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
                pass
            stop = asyncio.create_task(server.stop(linger=0.05, drain=10))
            while (await watch.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                pass
        for service in ("", "snakepit.v1.LinkService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        agent.let_go()
        assert (await call).json.string_value == "late"
        watch.cancel()
        await stop


async def test_stopping_asks_peers_to_go_away_finishes_running_calls_and_is_not_ready(
    server: Running, caller: Caller, client: Client
) -> None:
    async with simulated_agent(server.address) as agent:
        number = client.call("hang")
        await eventually(lambda: agent.running)
        stop = asyncio.create_task(server.stop(linger=0.05, drain=10))
        await eventually(lambda: client.gone_away)
        assert server.not_ready() == "stopping"
        agent.let_go()
        await eventually(lambda: number in client.results)
        assert client.results[number].payload.data == b'"late"'
        async with asyncio.timeout(5):
            await stop


async def test_whose_lane_came_too_late_is_told_that_nothing_of_its_stream_was_taken(server: Running) -> None:
    async with attacker(server) as channel, asyncio.timeout(PATIENCE_SECONDS):
        link = await ByHand(channel).open(lane=True)
        (await asyncio.to_thread(link.lane)).close()
        said: Any = await link.stream.read()
        assert [(frame.go_away.HasField("last_call"), frame.go_away.last_call) for frame in said.frames] == [(True, 0)]
        assert not server.links.links


async def test_a_client_that_neither_shows_its_ticket_nor_says_anything_is_hung_up_on(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snakepit_control_plane.servers.links.TICKET_SECONDS", 0.1)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stream = link_pb2_grpc.LinkServiceStub(channel).Link()
        hello = link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT)
        await stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
        await stream.read()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await stream.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
                continue
    await eventually(lambda: not server.links.links)
