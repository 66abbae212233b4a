"""What a trace says of a call that goes out again, comes back from a worker, or shares a run; and what costs no span at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from mcp import Client as McpClient
from starlette.types import Receive, Scope, Send

from snakepit import Client
from snakepit._telemetry.traceparent import is_sampled
from snakepit.client.calls import call_span
from snakepit.errors import DeadlineExceeded
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_gateway.traces import Traced
from support.control_plane import Caller, eventually, may_use, replica
from support.gateway import gateway, served
from support.otlp import Receiver, happened, said
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent, take_turns
from support.simulated_tools import echo, hang, success

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


async def work(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    return success("done")


@asynccontextmanager
async def two_replicas() -> AsyncIterator[tuple[Running, list[SimulatedAgent], Client]]:
    """The client's first call goes to the first, which it gives back."""
    store, tools, idempotent = MemoryStore(), {"hang": hang, "echo": echo}, frozenset({"hang"})
    async with (
        replica(store) as first,
        replica(store) as second,
        simulated_agent(first.address, name="a", tools=tools, idempotent=idempotent) as a,
        simulated_agent(second.address, name="b", tools=tools, idempotent=idempotent) as b,
        Client(f"{first.address},{second.address}", connect_timeout=10) as client,
    ):
        await may_use(client, 2)
        await take_turns(client.pool(POOL), a, b)
        yield first, [a, b], client


async def test_a_call_that_the_sdk_sends_again_says_why_and_has_a_route_for_each_try(receiver: Receiver) -> None:
    async with two_replicas() as (first, (a, b), client):
        call = asyncio.create_task(client.pool(POOL).call("hang", timeout=20))
        await eventually(lambda: a.running, "it runs")
        b.let_go()
        await first.abort()
        assert await call == "late"
        span = (await receiver.until({"call hang"}))["call hang"]
        await eventually(lambda: len(receiver.named("route hang")) == 2, "both tries are there")
    ((name, why),) = happened(span)
    assert name == "sent again"
    assert (why["snakepit.reason"], why["snakepit.started"], why["server.address"]) == ("REPLICA_LOST", "maybe", first.address)
    assert said(span)["snakepit.resend_count"] == 1
    assert said(span)["server.address"] != first.address
    assert {each.parent_span_id for each in receiver.named("route hang")} == {span.span_id}


def refuse(agent: SimulatedAgent, call: link_pb2.Call) -> None:
    """Once."""
    agent.on_call = agent.take
    agent.send(reject=link_pb2.Reject(id=call.id, reason="NO_SLOT"))


async def test_a_call_that_its_worker_gave_back_says_so(receiver: Receiver, server: Running, client: Client) -> None:
    async with simulated_agent(server.address, tools={"work": work}) as agent:
        agent.on_call = lambda call: refuse(agent, call)
        assert await client.pool(POOL).call("work", timeout=20) == "done"
        span = (await receiver.until({"route work"}))["route work"]
    names = [name for name, _ in happened(span)]
    assert [name for name in names if name != "queued"] == ["sent", "rejected", "sent", "answered"]
    ((_, why),) = [each for each in happened(span) if each[0] == "rejected"]
    assert why["snakepit.reason"] == "NO_SLOT"
    assert why["snakepit.worker"] == agent.calls[0].worker
    assert said(span)["snakepit.tries"] == 2


async def test_a_call_that_shares_the_run_of_another_one_by_its_key_says_so(receiver: Receiver, server: Running, client: Client) -> None:
    async with simulated_agent(server.address, tools={"hang": hang}) as agent:
        calls = [asyncio.create_task(client.pool(POOL).call("hang", timeout=20, idempotency_key="k")) for _ in range(2)]
        await eventually(lambda: agent.running and server.flow.calls.count == 3, "one runs, and two wait for it")
        agent.let_go()
        assert await asyncio.gather(*calls) == ["late", "late"]
        await eventually(lambda: len(receiver.named("route hang")) == 2, "both are there")
    for span in receiver.named("route hang"):
        assert happened(span)[0][0] == "joined"


async def test_a_deadline_that_passes_in_the_queue_has_its_reason_and_that_nothing_ran(
    receiver: Receiver, server: Running, client: Client
) -> None:
    async with simulated_agent(server.address, workers=1, tools={"hang": hang}) as agent:
        first = asyncio.create_task(client.pool(POOL).call("hang", timeout=20))
        await eventually(lambda: agent.running, "it runs")
        with pytest.raises(DeadlineExceeded):
            await client.pool(POOL).call("hang", timeout=0.05)
        agent.let_go()
        await first
        await eventually(lambda: len(receiver.named("route hang")) == 2, "both are there")
    late = next(each for each in receiver.named("route hang") if each.status.message)
    assert (late.status.message, said(late)["error.type"], said(late)["snakepit.started"]) == ("DEADLINE", "DEADLINE", "no")
    assert [name for name, _ in happened(late)] == ["queued", "answered"]


# ---- what isn't sampled


class TestNothingSampled:
    @pytest.fixture
    def sampler(self) -> dict[str, str]:
        return {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}

    async def test_the_decision_goes_along_and_no_span_is_made(
        self, receiver: Receiver, server: Running, client: Client, caller: Caller
    ) -> None:
        async with simulated_agent(server.address, tools={"work": work}) as agent, gateway(server.address) as http:
            await client.pool(POOL).call("work", timeout=20)
            await http.post(f"/v1/pools/{POOL}/tools/work", json={})
            await caller.call("work")
            assert [each.traceparent for each in agent.calls] == ["-", "-", "-"]
            await http.post(f"/v1/pools/{POOL}/tools/work", json={}, headers={"traceparent": PARENT})
            spans = await receiver.until({"POST ", "call ", "route "})
        assert {each.trace_id.hex() for each in spans.values()} == {TRACE}, "whom a caller samples, everybody does"
        assert (spans["route "].parent_span_id, spans["call "].parent_span_id) == (spans["call "].span_id, spans["POST "].span_id)
        assert len(receiver.spans) == 3

    async def test_whoever_begins_decides_and_nobody_after_it(self, receiver: Receiver) -> None:
        asked, passed_on = link_pb2.Call(pool=POOL, tool="work"), list[bytes]()
        assert call_span(asked, "") is None
        assert asked.traceparent == "-", "an SDK tells the control plane"

        async def within(scope: Scope, receive: Receive, send: Send) -> None:
            passed_on.append(dict(scope["headers"])[b"traceparent"])

        for path, given in (
            ("/v1/x", []),
            ("/v1/x", [(b"traceparent", b"made up")]),
            ("/mcp/x", [(b"traceparent", PARENT[:-1].encode() + b"0")]),
        ):
            await Traced(within)({"type": "http", "path": path, "method": "GET", "scheme": "http", "headers": given}, None, None)  # type: ignore[arg-type]
        assert passed_on == [b"-", b"-", PARENT[:-1].encode() + b"0"], "a gateway tells what is behind it"
        assert not receiver.spans


class TestWhateverCallersSay:
    @pytest.fixture
    def sampler(self) -> dict[str, str]:
        return {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}

    async def test_a_caller_that_samples_each_call_can_be_overruled(self, receiver: Receiver, server: Running) -> None:
        async with simulated_agent(server.address, tools={"work": work}) as agent, gateway(server.address) as http:
            await http.post(f"/v1/pools/{POOL}/tools/work", json={}, headers={"traceparent": PARENT})
            (call,) = agent.calls
        assert call.traceparent.startswith(f"00-{TRACE}-")
        assert not is_sampled(call.traceparent)
        assert not receiver.spans


class TestWithinLimits:
    @pytest.fixture
    def sampler(self) -> dict[str, str]:
        return {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2"}

    async def test_a_span_has_no_more_than_the_variables_allow(self, receiver: Receiver, server: Running, client: Client) -> None:
        async with simulated_agent(server.address, tools={"work": work}):
            await client.pool(POOL).call("work", timeout=20)
            spans = await receiver.until({"call work", "route work"})
        assert [len(each.attributes) for each in spans.values()] == [2, 2]


# ---- where nothing is traced


async def test_a_gateway_that_does_not_trace_passes_a_callers_trace_on(server: Running) -> None:
    async with simulated_agent(server.address, tools={"work": work}) as agent, served(server.address) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            await http.post(f"/v1/pools/{POOL}/tools/work", json={}, headers={"traceparent": PARENT})
        async with McpClient(f"{url}/mcp/{POOL}") as mcp:
            await mcp.call_tool("work", {}, meta={"traceparent": PARENT})
            await mcp.call_tool("work", {}, meta={"traceparent": "made up"})
        assert [each.traceparent for each in agent.calls] == [PARENT, PARENT, ""]
