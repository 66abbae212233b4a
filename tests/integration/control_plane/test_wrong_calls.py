"""What a peer says wrongly of its calls, by mistake or on purpose: one sentence for it, and not a slot less for everybody else."""

from __future__ import annotations

import math

import pytest

import snakepit
from snakepit.errors import InvalidArguments
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.server import Running
from support.bare_client import Client
from support.control_plane import Caller, eventually
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent
from support.simulated_tools import payload

MOST = 40.0
SHORT = settings(call={"timeoutSeconds": 20, "streamTimeoutSeconds": 20, "maxTimeoutSeconds": MOST})
ENDLESS = [math.inf, 1e308, 1e306, MOST + 1]
NONSENSE = [math.nan, -1.0, -math.inf]


async def nothing_is_left(server: Running, caller: Caller) -> None:
    """Every slot can be had."""
    await eventually(lambda: not server.flow.calls.count and not any(w.own for w in server.flow.pools[POOL].workers.values()))
    assert (await caller.call("echo", {"n": 1})).worker


async def on_a_bulk_lane(client: Client, timeout: float) -> link_pb2.ToClient:
    """A call there; its one answer."""
    assert client.replica is not None
    assert client.replica.bulk is not None
    bulk = await client.replica.bulk.open(listens=True)
    call = link_pb2.Call(id=1, call_id="on a bulk lane", pool=POOL, tool="echo", arguments=payload({}), timeout_seconds=timeout)
    await bulk.write(link_pb2.FromClient(call=call).SerializeToString())
    answer = await bulk.read()
    bulk.cancel()
    assert isinstance(answer, bytes)
    return link_pb2.ToClient.FromString(answer)


async def nest(agent: SimulatedAgent, number: int, timeout: float) -> link_pb2.Result:
    """The tool of the call that hangs calls another one; the answer."""
    await eventually(lambda: "hang" in running_tools(agent).values())
    parent = next(id_ for id_, tool in running_tools(agent).items() if tool == "hang")
    call = link_pb2.Call(id=number, call_id=f"n{number}", tool="echo", arguments=payload({}), timeout_seconds=timeout)
    agent.send(nested_call=link_pb2.NestedCall(parent=parent, call=call))
    await eventually(lambda: any(frame.WhichOneof("kind") == "result" for frame in agent.frames))
    return next(frame.result for frame in agent.frames if frame.WhichOneof("kind") == "result")


def is_the_most(call: link_pb2.Call) -> bool:
    """What is left when it is sent; a sum and a difference of floats may be an ulp more."""
    return MOST - 20 < call.timeout_seconds < MOST + 1e-6


def running_tools(agent: SimulatedAgent) -> dict[int, str]:
    return {id_: call.tool for id_, (call, _) in agent.running.items()}


@pytest.mark.parametrize("timeout", ENDLESS)
async def test_an_endless_timeout_is_the_longest_that_the_pool_allows_whatever_way_it_came(
    server: Running, caller: Caller, client: Client, timeout: float
) -> None:
    async with simulated_agent(server.address, settings=SHORT, workers=2) as agent, snakepit.Client(server.address) as sdk:
        linked = client.call("echo", timeout_seconds=timeout)
        await eventually(lambda: linked in client.results)
        assert (await on_a_bulk_lane(client, timeout)).result.HasField("payload")
        await sdk.pool(POOL).call("echo", {"n": 1}, timeout=timeout)
        assert [chunk async for chunk in sdk.pool(POOL).stream("count", {"to": 1}, timeout=timeout)] == [0]
        client.call("hang", timeout_seconds=timeout)
        assert (await nest(agent, 1, timeout)).HasField("payload")
        assert [is_the_most(call) for call in agent.calls] == [True] * 6
        await client.stop()
        await nothing_is_left(server, caller)


async def test_a_tools_own_endless_timeout_is_the_longest_that_the_pool_allows(server: Running, caller: Caller, client: Client) -> None:
    async with simulated_agent(server.address, settings=SHORT) as agent:
        agent.send(offer=link_pb2.Offer(tools=[common_pb2.Tool(name="echo", timeout_seconds=1e308)]))
        await eventually(lambda: server.flow.pools[POOL].tools["echo"].timeout_seconds == 1e308)
        number = client.call("echo")
        await eventually(lambda: number in client.results)
        assert is_the_most(agent.calls[0])
        await nothing_is_left(server, caller)


@pytest.mark.parametrize("timeout", NONSENSE)
async def test_a_timeout_that_is_no_number_of_seconds_is_refused_with_one_sentence_whatever_way_it_came(
    server: Running, caller: Caller, client: Client, timeout: float
) -> None:
    async with simulated_agent(server.address, settings=SHORT, workers=2) as agent, snakepit.Client(server.address) as sdk:
        linked = client.call("echo", timeout_seconds=timeout)
        await eventually(lambda: linked in client.results)
        running = client.call("hang")
        refused_nested = await nest(agent, 1, timeout)
        refusals = [client.results[linked].error, (await on_a_bulk_lane(client, timeout)).result.error, refused_nested.error]
        for refused in refusals:
            assert refused.reason == "INVALID_ARGUMENTS"
            assert refused.message.startswith("timeout_seconds ")
            assert refused.started == common_pb2.STARTED_NO
        with pytest.raises(InvalidArguments, match="timeout"):
            await sdk.pool(POOL).call("echo", timeout=timeout)
        assert [call.tool for call in agent.calls] == ["hang"]
        agent.let_go()
        await eventually(lambda: running in client.results)
        await nothing_is_left(server, caller)


async def test_two_calls_of_one_id_end_the_link_with_a_sentence_and_every_call_with_it(
    server: Running, caller: Caller, client: Client
) -> None:
    async with simulated_agent(server.address, workers=3) as agent:
        for number in (7, 8, 7, 7, 9):
            client.call("hang", number=number)
        await eventually(lambda: client.closed)
        await nothing_is_left(server, caller)
        assert len([call for call in agent.calls if call.tool == "hang"]) == len(agent.cancelled) <= 2
        assert sorted(client.results) == [7, 8]
        for result in client.results.values():
            assert result.error.reason == "INVALID_ARGUMENTS"
            assert result.error.message == "two calls of this link have the id 7: give each open call an id of its own"
            assert result.error.started == common_pb2.STARTED_MAYBE
        await eventually(lambda: client.replica is not None and client.replica.link.is_open)


async def test_an_id_may_be_used_again_when_its_call_has_ended(server: Running, caller: Caller, client: Client) -> None:
    async with simulated_agent(server.address):
        for _ in range(3):
            client.results.clear()
            client.call("echo", number=7)
            await eventually(lambda: 7 in client.results)
        assert not client.closed


async def test_two_nested_calls_of_one_id_end_the_agents_link(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=3) as agent:
        around = caller.start("hang")
        await eventually(lambda: agent.running)
        (parent,) = agent.running
        links = [agent.replica]
        for _ in range(2):
            call = link_pb2.Call(id=1, call_id="n", tool="hang", arguments=payload({}))
            agent.send(nested_call=link_pb2.NestedCall(parent=parent, call=call))
        await eventually(lambda: agent.replica is not None and agent.replica not in links)
        agent.let_go()
        await around
        await nothing_is_left(server, caller)
