"""A worker's word about spans, in whose process the author's code runs: of its own call it says when, and of no other call anything."""

from __future__ import annotations

import dataclasses
import time

import pytest

from snakepit._ipc.frames import CallFailure, Payload, ToolFailure
from snakepit._ipc.worker import StateOperation
from snakepit._telemetry import tracing
from snakepit.v1 import common_pb2, link_pb2
from snakepit_agent.calls import spans
from snakepit_agent.model.call import HeldCall
from snakepit_control_plane.server import Running
from support.bare_client import bare_client
from support.control_plane import counted, eventually
from support.otlp import Receiver, happened, said
from support.simulated_agent import POOL, simulated_agent
from support.simulated_tools import payload

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
BEGAN, SECONDS = 1_700_000_000_000_000_000, 0.25


def held(traceparent: str = PARENT) -> HeldCall:
    call = HeldCall(id=7, remote=70, replica="r", incarnation="w", call_id="c", tool="t", session_id="s", traceparent=traceparent)
    spans.begin(call, link_pb2.Call(pool="default/p"), "capsule/0", 7)
    return call


async def test_a_tools_span_is_as_long_as_its_worker_measured(receiver: Receiver) -> None:
    call = held()
    call.span.end(call, ToolFailure("ValueError", "no", "x" * 100_000), BEGAN, SECONDS)
    tool = (await receiver.until({"tool t"}))["tool t"]
    assert (tool.trace_id.hex(), tool.parent_span_id.hex(), tool.span_id.hex()) == (
        TRACE,
        PARENT.split("-")[2],
        call.traceparent.split("-")[2],
    )
    assert (tool.start_time_unix_nano, tool.end_time_unix_nano - tool.start_time_unix_nano) == (BEGAN, SECONDS * 1e9)
    assert (tool.status.message, said(tool)["process.pid"], said(tool)["snakepit.started"]) == ("ValueError", 7, "yes")
    ((name, what),) = happened(tool)
    assert (name, len(what["exception.stacktrace"])) == ("exception", spans.MOST_TRACEBACK)


@pytest.mark.parametrize("began", [-1, (1 << 63) - 1, (1 << 64) - 1])
async def test_a_time_that_can_not_be_is_not_believed(receiver: Receiver, began: int) -> None:
    before = time.time_ns()
    call = held()
    call.span.end(call, Payload(b"1"), began, SECONDS)
    tool = (await receiver.until({"tool t"}))["tool t"]
    assert before <= tool.start_time_unix_nano <= tool.end_time_unix_nano <= time.time_ns()


async def test_of_a_call_whose_worker_died_the_agent_says_how_long_it_had_it(receiver: Receiver) -> None:
    before = time.time_ns()
    call = held()
    call.span.end(call, CallFailure("WORKER_LOST", "gone", 2))
    tool = (await receiver.until({"tool t"}))["tool t"]
    assert (said(tool)["error.type"], said(tool)["snakepit.started"], said(tool)["snakepit.worker"]) == (
        "WORKER_LOST",
        "maybe",
        "capsule/0",
    )
    assert before <= tool.start_time_unix_nano <= tool.end_time_unix_nano <= time.time_ns()


async def test_a_tool_that_never_began_has_no_span(receiver: Receiver) -> None:
    never, ran = held(), held()
    never.span.end(never, CallFailure("DEADLINE", "late", 1))
    ran.span.end(ran, CallFailure("INVALID_ARGUMENTS", "no", 1), BEGAN, SECONDS)
    tool = (await receiver.until({"tool t"}))["tool t"]
    assert tool.status.message == "INVALID_ARGUMENTS", "its worker had it, and says why"
    assert len(receiver.named("tool t")) == 1


async def test_a_state_operation_is_of_its_calls_trace_or_of_none(receiver: Receiver) -> None:
    call = held()
    asked = StateOperation(1, 7, "get", "k", traceparent=PARENT.replace(TRACE, "f" * 32))
    assert spans.state("default/p", call, asked) is None
    asked.traceparent = PARENT
    span = spans.state("default/p", call, asked)
    assert span is not None
    spans.end_state(span, CallFailure("STATE_QUOTA", "full", 1))
    found = (await receiver.until({"state get"}))["state get"]
    assert (found.status.message, said(found)["snakepit.state_key"]) == ("STATE_QUOTA", "k")


async def test_a_reason_that_a_worker_made_up_is_no_longer_than_others_texts(receiver: Receiver) -> None:
    call = held()
    call.span.end(call, CallFailure("R" * 100_000, "no", 2), BEGAN, SECONDS)
    tool = (await receiver.until({"tool t"}))["tool t"]
    assert len(tool.status.message) == spans.MOST_MESSAGE


async def test_a_reason_that_a_client_made_up_is_no_word_of_a_span_or_a_series(receiver: Receiver, server: Running) -> None:
    async with simulated_agent(server.address) as agent, bare_client(server.address) as liar:
        send = liar.replica.link.send
        tool = common_pb2.Tool(name="lie", input_schema="{}")
        send(link_pb2.Frame(offer=link_pb2.Offer(id=1, provider="liar", pool=POOL, tools=[tool])))
        await eventually(lambda: any(frame.HasField("offer_reply") for frame in liar.heard), "it is on offer")
        liar.call("hang")
        await eventually(lambda: agent.running)
        asked = link_pb2.Call(id=1, call_id="n", tool="lie", arguments=payload({}), traceparent=PARENT)
        agent.send(nested_call=link_pb2.NestedCall(parent=next(iter(agent.running)), call=asked))
        await eventually(lambda: any(frame.HasField("call") for frame in liar.heard), "it is called")
        (number,) = [frame.call.id for frame in liar.heard if frame.HasField("call")]
        send(link_pb2.Frame(result=link_pb2.Result(id=number, error=common_pb2.Error(reason="R" * 100_000, message="no"))))
        ask = (await receiver.until({"ask lie"}))["ask lie"]
        agent.let_go()
    assert (ask.status.message, said(ask)["error.type"]) == ("INTERNAL", "INTERNAL")
    assert counted(server, "snakepit_client_tool_calls_total", pool=POOL, outcome="other") == 1


async def test_a_call_whose_trace_is_not_sampled_has_no_span(receiver: Receiver) -> None:
    del receiver  # it traces
    unsampled = f"{PARENT[:-1]}0"
    assert not tracing.follows(unsampled)
    call = dataclasses.replace(held(unsampled))
    assert (call.span, call.traceparent) == (None, unsampled)
