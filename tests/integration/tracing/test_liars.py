"""A worker's word about spans, in whose process the author's code runs: of its own call it says when, and of no other call anything."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from snakepit._ipc.frames import CallFailure, Payload, ToolFailure
from snakepit._ipc.worker import SpanFrame, StateOperation
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
HONEST = SpanFrame("tool t", PARENT, "00f067aa0ba902b7", 1_700_000_000_000_000_000, 1_700_000_001_000_000_000, "", {"process.pid": "7"}, 7)


def held(traceparent: str = PARENT) -> HeldCall:
    call = HeldCall(id=7, remote=70, replica="r", incarnation="w", call_id="c", tool="t", session_id="s", traceparent=traceparent)
    spans.begin(call, link_pb2.Call(pool="default/p"), "capsule/0")
    return call


async def test_what_a_worker_measured_is_below_its_agents_span(receiver: Receiver) -> None:
    call = held()
    call.span.tool_ended(HONEST)
    call.span.end(ToolFailure("ValueError", "no", "x" * 100_000))
    found = await receiver.until({"run t", "tool t"})
    run, tool = found["run t"], found["tool t"]
    assert (tool.parent_span_id, tool.span_id.hex()) == (run.span_id, HONEST.span_id)
    assert (run.status.message, tool.status.message) == ("TOOL_ERROR", "ValueError")
    assert said(tool)["process.pid"] == 7
    ((name, what),) = happened(tool)
    assert (name, len(what["exception.stacktrace"])) == ("exception", spans.MOST_TRACEBACK)


@pytest.mark.parametrize(
    "lie",
    [
        {"span_id": "zz"},
        {"span_id": "0" * 16},
        {"span_id": "f" * 17},
        {"start_ns": -1},
        {"end_ns": 1},
        {"end_ns": (1 << 64) - 1},
    ],
    ids=lambda lie: "{}={}".format(*next(iter(lie.items()))),
)
async def test_a_span_that_can_not_be_is_left_out(receiver: Receiver, lie: dict[str, object]) -> None:
    call = held()
    call.span.tool_ended(msgspec.structs.replace(HONEST, **lie))
    call.span.end(Payload(b"1"))
    await receiver.until({"run t"})
    assert not receiver.named("tool t")


async def test_its_name_trace_and_attributes_are_the_agents(receiver: Receiver) -> None:
    call = held()
    other = PARENT.replace(TRACE, "f" * 32)
    lies = {"name": "tool of somebody else", "traceparent": other, "attributes": {"process.pid": "x", "snakepit.pool": "theirs"}}
    call.span.tool_ended(msgspec.structs.replace(HONEST, **lies))
    call.span.end(CallFailure("DEADLINE", "late", 2))
    tool = (await receiver.until({"tool "}))["tool "]
    assert (tool.name, tool.trace_id.hex()) == ("tool t", TRACE)
    assert (said(tool)["snakepit.pool"], "process.pid" in said(tool)) == ("default/p", False)
    assert (said(tool)["error.type"], said(tool)["snakepit.started"]) == ("DEADLINE", "maybe")


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
    call.span.tool_ended(HONEST)
    call.span.end(CallFailure("R" * 100_000, "no", 1))
    found = await receiver.until({"run t", "tool t"})
    assert {len(found[name].status.message) for name in ("run t", "tool t")} == {spans.MOST_MESSAGE}


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


async def test_a_call_that_goes_back_has_not_failed_and_ends_once(receiver: Receiver) -> None:
    call = held()
    call.span.gave_back()
    call.span.end(CallFailure("WORKER_LOST", "gone", 2))
    run = (await receiver.until({"run t"}))["run t"]
    assert (run.status.code, said(run)["snakepit.gave_back"]) == (0, True)
    assert len(receiver.named("run t")) == 1


async def test_a_call_whose_trace_is_not_sampled_has_no_span(receiver: Receiver) -> None:
    del receiver  # it traces
    unsampled = f"{PARENT[:-1]}0"
    assert not tracing.follows(unsampled)
    call = dataclasses.replace(held(unsampled))
    assert (call.span, call.traceparent) == (None, unsampled)
