"""Calls through a real worker process: arguments, results, errors, streams, state, interrupts."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import snakepit.testing
from snakepit import (
    Cancelled,
    DeadlineExceeded,
    InvalidArguments,
    PayloadTooLarge,
    PayloadWarning,
    SnakepitError,
    Started,
    ToolError,
    ToolNotFound,
)
from snakepit._ipc.worker import STREAM_CREDIT, Begin, CancelCall, ChunkFrame, Credit, EndSession, ProgressFrame, SetLimits
from snakepit._values import payloads
from snakepit.errors import BY_REASON, from_reason
from snakepit_worker import testing
from snakepit_worker.testing import LocalAgent, LocalWorker, outcome, wait_until
from support.asking import Asking

SAMPLE = "support.sample:Sample"


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalWorker]:
    """One worker for all tests that leave it as it was."""
    with testing.start(SAMPLE) as worker:
        yield worker


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, True, "ü"]}, {"a": [1, 2.5, True, "ü"]}),
        (2**80, 2**80),
        ([b"\x00\xff", {"deep": b""}], [b"\x00\xff", {"deep": b""}]),
        (float("-inf"), float("-inf")),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        ("x" * 200_000, "x" * 200_000),
        (b"x" * 3_000_000, b"x" * 3_000_000),
    ],
    ids=["null", "json", "big integer", "bytes", "infinity", "datetime is ISO", "through a memfd", "large bytes"],
)
def test_values_round_trip_as_documented(shared: LocalWorker, value: Any, expected: Any) -> None:
    assert shared.call("echo", {"value": value}) == expected


def test_a_numpy_array_round_trips_with_its_dtype_and_shape(shared: LocalWorker) -> None:
    array = numpy.arange(6, dtype="float32").reshape(2, 3)
    back = shared.call("echo", {"value": array})
    assert back.dtype == array.dtype
    assert numpy.array_equal(back, array)


def test_async_tools_run(shared: LocalWorker) -> None:
    assert shared.call("later", {"value": 7}) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": "x"}, "argument `a`: Expected `int`, got `str`"),
        ({}, "argument `a` is missing"),
        ({"a": 1, "bb": 2}, "argument `bb` is unknown to this tool; did you mean `b`?"),
        ([1], "the arguments must be an object of names and values: Expected `object`, got `array`"),
    ],
    ids=["wrong type", "missing", "unknown", "no object"],
)
def test_bad_arguments_name_the_argument_and_the_tool_does_not_run(shared: LocalWorker, arguments: Any, message: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        shared.call("add", arguments)
    assert caught.value.message == message
    assert caught.value.started is Started.NO


def test_an_unknown_tool_is_answered_with_the_nearest_names(shared: LocalWorker) -> None:
    with pytest.raises(ToolNotFound) as caught:
        shared.call("ecko")
    assert caught.value.details["nearest"].startswith("echo")


def test_an_exception_arrives_with_type_message_and_the_authors_traceback(shared: LocalWorker) -> None:
    with pytest.raises(ToolError) as caught:
        shared.call("fail", {"message": "not here"})
    assert (caught.value.type, caught.value.message) == ("LookupError", "not here")
    assert "sample.py" in caught.value.traceback
    assert "snakepit_worker" not in caught.value.traceback


def test_a_result_that_can_not_be_encoded_becomes_a_marker(shared: LocalWorker) -> None:
    with pytest.warns(PayloadWarning, match=r"\$\.odd is a _thread\.lock"):
        assert shared.call("odd") == {"fine": 1, "odd": {"$unserializable": "_thread.lock"}}


@pytest.mark.parametrize("tool", ["large", "large_stream"])
def test_a_result_over_the_limit_is_refused_with_the_limits_name(shared: LocalWorker, tool: str) -> None:
    shared.send(SetLimits(5_000_000, "maxLargePayloadBytes"))
    shared.call("remember", {"key": "k", "value": 1}, session_id="limits")  # Its answer comes behind the limit, on the same channel.
    with pytest.raises(PayloadTooLarge) as caught:
        shared.call(tool, {"size": 5_000_001} if tool == "large" else {})
    assert caught.value.details == {"limit": "maxLargePayloadBytes", "bytes": "5000000"}
    assert caught.value.started is Started.YES


@pytest.mark.parametrize("tool", ["count", "count_later"])
def test_chunks_arrive_in_order_one_by_one(shared: LocalWorker, tool: str) -> None:
    assert list(shared.stream(tool, {"to": 3 * STREAM_CREDIT})) == list(range(3 * STREAM_CREDIT))


def test_a_producer_waits_for_its_consumer(shared: LocalWorker) -> None:
    id = shared.begin("count", {"to": STREAM_CREDIT + 2}, stream=True)
    shared.heard.wait(ChunkFrame, lambda frame: frame.id == id and frame.index == STREAM_CREDIT - 1)
    shared.send(Credit(id, 1))
    shared.heard.wait(ChunkFrame, lambda frame: frame.id == id and frame.index == STREAM_CREDIT)
    assert not [frame for frame in shared.heard.all(ChunkFrame) if frame.id == id and frame.index > STREAM_CREDIT]
    shared.send(Credit(id, 1))
    assert shared.done(id).failure is None


@pytest.mark.parametrize("tool", ["count", "count_later"])
def test_a_producer_that_waits_for_its_consumer_can_be_cancelled(shared: LocalWorker, tool: str) -> None:
    id = shared.begin(tool, {"to": 1000}, stream=True)
    shared.heard.wait(ChunkFrame, lambda frame: frame.id == id and frame.index == STREAM_CREDIT - 1)
    shared.send(CancelCall(id, "CANCELLED"))
    failure = shared.done(id).failure
    assert failure is not None
    assert failure.reason == "CANCELLED"


def test_an_exception_mid_stream_arrives_as_itself(shared: LocalWorker) -> None:
    stream = shared.stream("break_off")
    assert next(stream) == 1
    with pytest.raises(ToolError, match="LookupError: broken off"):
        next(stream)


def test_a_streaming_tool_called_once_gives_a_list_and_a_plain_one_streamed_gives_one_chunk(shared: LocalWorker) -> None:
    assert shared.call("count", {"to": 3}) == [0, 1, 2]
    assert shared.call("count_later", {"to": 3}) == [0, 1, 2]
    assert list(shared.stream("add", {"a": 1})) == [2]


def test_state_is_written_through_and_read_back(shared: LocalWorker) -> None:
    assert shared.call("remember", {"key": "k", "value": {"n": [1]}}, session_id="s1") == 1
    assert shared.call("remember", {"key": "k", "value": {"n": [2]}}, session_id="s1") == 2
    assert shared.call("recall", {"key": "k"}, session_id="s1") == {"n": [2]}
    assert shared.call("recall", {"key": "k"}, session_id="s2") is None


def test_state_without_a_session_is_refused_with_a_sentence(shared: LocalWorker) -> None:
    with pytest.raises(InvalidArguments, match="this call has no session") as refused:
        shared.call("recall", {"key": "k"})
    assert refused.value.started is Started.YES


def test_a_tool_sees_its_session_metadata_and_deadline_and_reports_progress(shared: LocalWorker) -> None:
    deadline = time.monotonic() + 60
    id = shared.begin("report", session_id="s3", metadata={"user": "u"}, deadline=deadline)
    assert outcome(shared.done(id)) == ["s3", {"user": "u"}, True, "s3"]
    assert shared.heard.wait(ProgressFrame, lambda frame: frame.id == id).fraction == 0.5


@pytest.mark.parametrize("tool", ["sleep", "sleep_later", "spin"])
@pytest.mark.parametrize(("reason", "error"), [("CANCELLED", Cancelled), ("DEADLINE", DeadlineExceeded)], ids=["cancelled", "deadline"])
def test_an_interrupt_ends_a_running_tool_and_the_worker_goes_on(
    shared: LocalWorker, tool: str, reason: str, error: type[Exception]
) -> None:
    id = shared.begin(tool, {} if tool == "spin" else {"seconds": 60})
    shared.heard.wait(Begin, lambda frame: frame.id == id)
    shared.send(CancelCall(id, reason))
    with pytest.raises(error):
        outcome(shared.done(id))
    assert shared.call("add", {"a": 1}) == 2


def test_an_interrupt_for_a_call_that_has_ended_is_ignored(shared: LocalWorker) -> None:
    first = shared.begin("add", {"a": 1})
    shared.done(first)
    second = shared.begin("sleep", {"seconds": 0.05})
    shared.send(CancelCall(first, "CANCELLED"))
    assert outcome(shared.done(second)) == "slept"


def test_a_cancellation_that_overtakes_its_call_is_not_lost(shared: LocalWorker) -> None:
    first = shared.begin("sleep", {"seconds": 60})
    shared.heard.wait(Begin, lambda frame: frame.id == first)
    second = shared.begin("sleep", {"seconds": 60})
    for id in (second, first):  # Read in this order: the second one's while the first runs, which then ends.
        shared.send(CancelCall(id, "CANCELLED"))
    assert shared.done(first).failure is not None
    with pytest.raises(Cancelled) as caught:
        outcome(shared.done(second))
    assert caught.value.started is Started.NO


def test_a_call_past_its_deadline_never_runs(shared: LocalWorker) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        shared.call("add", {"a": 1}, deadline=time.monotonic() - 1)
    assert caught.value.started is Started.NO


def test_of_a_sampled_call_it_is_said_when_it_began_and_of_others_it_is_not(shared: LocalWorker) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
    for unsampled in ("", "-", trace + "0"):
        assert shared.done(shared.begin("add", {"a": 1}, traceparent=unsampled)).started_ns == 0
    before = time.time_ns()
    done = shared.done(shared.begin("add", {"a": 1}, traceparent=trace + "1"))
    assert before <= done.started_ns <= done.started_ns + int(done.run_seconds * 1e9) <= time.time_ns()


def test_a_session_that_has_ended_is_new_again(agent: LocalAgent) -> None:
    worker = agent.start("support.sample:Sessions")
    worker.ready()
    worker.call("seen", session_id="a")
    worker.call("seen", session_id="a")
    worker.send(EndSession("a"))
    wait_until(lambda: "end a" in worker.call("seen"))
    assert worker.call("seen", session_id="a") == ["start a", "end a", "start a"]


def test_neither_grpc_nor_protobuf_nor_opentelemetry_is_imported(agent: LocalAgent) -> None:
    assert agent.start(SAMPLE).call("modules", {"names": ["grpc", "google", "google.protobuf", "opentelemetry", "numpy", "sys"]}) == ["sys"]


def test_an_image_that_pins_an_old_protobuf_and_has_no_grpcio_works(tmp_path: Path) -> None:
    old = tmp_path / "google" / "protobuf"
    old.mkdir(parents=True)
    (tmp_path / "google" / "__init__.py").touch()
    (old / "__init__.py").write_text("__version__ = '2.6.1'")
    for missing in ("grpc", "opentelemetry"):
        (tmp_path / f"{missing}.py").write_text("raise ImportError('not in this image')")
    with LocalAgent({"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}) as agent:
        for startup in ("fork", "spawn"):
            worker = agent.start("support.old_protobuf:Pinned", startup=startup)
            assert worker.call("version") == "2.6.1"


def test_the_catalogue_entry_comes_from_the_signature(shared: LocalWorker) -> None:
    ready = shared.ready()
    tools = {tool.name: tool for tool in ready.tools}
    assert ready.description == "Sample tools."
    assert tools["echo"].description == "The value itself."
    assert tools["count"].streaming
    assert '"required": ["a"]' in tools["add"].input_schema
    assert tools["add"].output_schema == '{"type": "integer"}'


def test_large_results_and_chunks_come_as_memfds(shared: LocalWorker) -> None:
    assert shared.call("large", {"size": 3_000_001}) == b"x" * 3_000_001
    id = shared.begin("large_stream", stream=True)
    for index in range(20):
        chunk = shared.heard.wait(ChunkFrame, lambda frame, index=index: frame.id == id and frame.index == index)
        assert (chunk.sections[1:], len(payloads.decode(chunk.payload))) == ((1_000_000,), 1_000_000)
        assert len([frame for frame in shared.heard.all(ChunkFrame) if frame.id == id]) <= index + 2
        shared.send(Credit(id, 1))
    shared.send(CancelCall(id, "CANCELLED"))
    assert shared.done(id).failure is not None


def test_a_tool_calls_tools_that_the_test_offers() -> None:
    def shout(text: str) -> str:
        return text.upper()

    def numbers(to: int) -> Iterator[int]:
        yield from range(to)

    with testing.start("support.asking:Asking") as worker:
        worker.offer(shout, numbers)
        for tool in ("ask", "ask_later"):
            assert worker.call(tool, {"name": "shout", "arguments": {"text": "a"}}) == "A"
        for tool in ("stream", "stream_later"):
            assert list(worker.stream(tool, {"name": "numbers", "arguments": {"to": 30}})) == list(range(30))
        assert worker.call("refused", {"name": "nobody"})[1] == "TOOL_NOT_FOUND"
        with pytest.raises(ToolNotFound) as caught:
            worker.call("ask", {"name": "nobody"})
        assert caught.value.started is Started.YES, "an error that the tool lets through keeps its reason"


@pytest.mark.parametrize("start", [testing.start, snakepit.testing.start], ids=["worker", "in this process"])
def test_a_failure_that_a_tool_lets_through_is_its_calls_own_and_it_has_started(start: Callable[..., Any]) -> None:
    def refuse(reason: str) -> None:
        raise from_reason(reason, "so it is", started=Started.NO)

    with start(Asking) as worker:
        worker.offer(refuse)
        for kind in BY_REASON.values():
            if not kind.within_tools or kind is SnakepitError:
                continue
            with pytest.raises(kind) as caught:
                worker.call("ask", {"name": "refuse", "arguments": {"reason": kind.reason}})
            assert caught.value.started is Started.YES, kind
