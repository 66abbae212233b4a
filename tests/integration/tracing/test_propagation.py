"""`tracestate` and `baggage` go with a call from whatever it came by, to its worker and to a client's function; spans have the former."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from mcp import Client as McpClient
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator

from snakepit import Client
from snakepit._telemetry.propagation import BAGGAGE, TRACESTATE
from snakepit.v1 import link_pb2, router_pb2
from snakepit_control_plane.server import Running
from support.control_plane import Caller, eventually, rpc
from support.gateway import served
from support.otlp import Receiver
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import success

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
CARRIED = {TRACESTATE: "vendor=1,other=2", BAGGAGE: "customer=ada"}
HEADERS = {"traceparent": PARENT, **CARRIED}


async def work(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    return success("done")


@pytest.fixture
async def agent(server: Running) -> AsyncIterator[SimulatedAgent]:
    async with simulated_agent(server.address, tools={"work": work}) as made:
        yield made


@contextmanager
def within(text: dict[str, str]) -> Iterator[None]:
    """A program's own context, as OpenTelemetry's propagators leave it."""
    from opentelemetry.propagate import extract

    token = context.attach(extract(text))
    try:
        yield
    finally:
        context.detach(token)


async def by_each(server: Running, client: Client, caller: Caller) -> int:
    """Call by HTTP, by MCP with headers and with `_meta`, and by gRPC; the number of calls."""
    async with served(server.address) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            (await http.post(f"/v1/pools/{POOL}/tools/work", json={}, headers=HEADERS)).raise_for_status()
        async with McpClient(f"{url}/mcp/{POOL}") as mcp:
            await mcp.call_tool("work", {}, meta=HEADERS)
    asked = router_pb2.ExecuteRequest(pool=POOL, tool="work")
    await rpc(caller.router.Execute(asked, metadata=(*HEADERS.items(), ("x-other", "1"))))
    return 3


async def test_both_go_along_where_nobody_traces(server: Running, agent: SimulatedAgent, client: Client, caller: Caller) -> None:
    count = await by_each(server, client, caller)
    assert [dict(each.metadata) for each in agent.calls] == [CARRIED] * count


async def test_each_span_of_a_trace_has_its_state(
    receiver: Receiver, server: Running, agent: SimulatedAgent, client: Client, caller: Caller
) -> None:
    count = await by_each(server, client, caller)
    with within(HEADERS):
        assert await client.pool(POOL).call("work") == "done"
    assert [dict(each.metadata) for each in agent.calls] == [CARRIED] * (count + 1)
    await eventually(lambda: len(receiver.named("route work")) == count + 1, "all calls are there")
    await receiver.until({"POST ", "tools/call ", "call "})
    spans = [each for _, each in receiver.spans if each.trace_id.hex() == TRACE]
    assert {each.name.split()[0] for each in spans} == {"POST", "tools/call", "call", "route"}
    assert {each.trace_state for each in spans} == {CARRIED[TRACESTATE]}


async def test_a_programs_own_baggage_goes_with_its_calls(server: Running, agent: SimulatedAgent, client: Client) -> None:
    pool = client.pool(POOL)
    with within({BAGGAGE: "customer=ada,tier=gold"}):
        await pool.call("work")
        await pool.call("work", metadata={BAGGAGE: "by=hand", "mine": "1"})
    await pool.call("work")
    found = [dict(each.metadata) for each in agent.calls]
    assert found == [{BAGGAGE: "customer=ada,tier=gold"}, {BAGGAGE: "by=hand", "mine": "1"}, {}]


async def test_a_programs_own_baggage_that_is_too_long_is_left_out_and_the_call_goes_on(
    server: Running, agent: SimulatedAgent, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_MAX_PAIR_LENGTH", "_MAX_HEADER_LENGTH"):  # OpenTelemetry 1.40, which a program may have, writes all that there is.
        monkeypatch.setattr(W3CBaggagePropagator, limit, 1_000_000, raising=False)
    token = context.attach(baggage.set_baggage("customer", "a" * 70_000))
    try:
        assert await client.pool(POOL).call("work") == "done"
    finally:
        context.detach(token)
    assert dict(agent.calls[0].metadata) == {}


async def test_what_a_stranger_says_beyond_measure_is_left_out_and_the_call_goes_on(
    server: Running, agent: SimulatedAgent, client: Client
) -> None:
    headers = {"traceparent": "made up", TRACESTATE: "vendor=1", BAGGAGE: "b" * 8193}
    async with served(server.address) as url, httpx.AsyncClient(base_url=url) as http:
        (await http.post(f"/v1/pools/{POOL}/tools/work", json={}, headers=headers)).raise_for_status()
    assert dict(agent.calls[0].metadata) == {}


async def test_a_function_that_a_client_offers_has_the_baggage_of_the_call_around_it(
    receiver: Receiver, server: Running, client: Client, caller: Caller
) -> None:
    heard: list[Any] = []

    async def approve() -> str:
        heard.append((dict(baggage.get_all()), trace.get_current_span().get_span_context().trace_state.to_header()))
        return "fine"

    async def ask(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        asked = link_pb2.Call(id=1, call_id="n", tool="approve", arguments=call.arguments, traceparent=call.traceparent)
        agent.send(nested_call=link_pb2.NestedCall(parent=call.id, call=asked))
        await eventually(lambda: heard, "it is asked")
        return success("asked")

    async with simulated_agent(server.address, tools={"ask": ask}), client.offer(approve, pool=POOL):
        asked = router_pb2.ExecuteRequest(pool=POOL, tool="ask")
        await rpc(caller.router.Execute(asked, metadata=tuple(HEADERS.items())))
    assert heard == [({"customer": "ada"}, CARRIED[TRACESTATE])]
    ask_span = (await receiver.until({"ask approve"}))["ask approve"]
    assert ask_span.trace_state == CARRIED[TRACESTATE]
    assert not baggage.get_all(), "it is that call's alone"
