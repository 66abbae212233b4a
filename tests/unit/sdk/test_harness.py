"""`snakepit.testing`: an adapter in a test, without a process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from snakepit import (
    Adapter,
    Cancelled,
    Context,
    DeadlineExceeded,
    InvalidArguments,
    PayloadWarning,
    StoreUnavailable,
    ToolError,
    ToolNotFound,
    tool,
)
from snakepit._ipc.frames import CallFailure, StateAnswer
from snakepit._ipc.worker import StateOperation
from snakepit.author.context import CallInfo
from snakepit.author.state import CACHE_SECONDS, StateCache
from snakepit.testing import Call, Harness, MemoryState, start
from support.sample import BadSetup, Sample, Sessions


@pytest.fixture
def sample() -> Iterator[Harness]:
    with start(Sample) as harness:
        yield harness


def test_calls_streams_and_async_tools_run(sample: Harness) -> None:
    assert sample.call("echo", {"value": [b"x", 1]}) == [b"x", 1]
    assert sample.call("later", {"value": 2}) == 2
    assert list(sample.stream("count", {"to": 3})) == sample.call("count_later", {"to": 3}) == [0, 1, 2]
    assert list(sample.stream("add", {"a": 1})) == [2]


def test_failures_are_those_that_a_caller_gets(sample: Harness) -> None:
    with pytest.raises(InvalidArguments, match="argument `a` is missing"):
        sample.call("add")
    with pytest.raises(ToolNotFound) as unknown:
        sample.call("ecko")
    assert unknown.value.details["nearest"].startswith("echo")
    with pytest.raises(ToolError) as raised:
        sample.call("fail", {"message": "m"})
    assert (raised.value.type, raised.value.message) == ("LookupError", "m")
    with pytest.raises(DeadlineExceeded):
        sample.call("spin", timeout=0.01)
    with pytest.warns(PayloadWarning, match=r"\$\.odd is a _thread.lock"):
        assert sample.call("odd")["odd"] == {"$unserializable": "_thread.lock"}


def test_a_test_can_prepare_and_read_state_and_see_progress(sample: Harness) -> None:
    sample.state.put("s", "k", {"a": b"1"})
    assert sample.call("recall", {"key": "k"}, session_id="s") == {"a": b"1"}
    assert sample.call("remember", {"key": "k", "value": 2}, session_id="s") == 2
    assert sample.state.value("s", "k") == 2
    sample.call("report", session_id="s", metadata={"a": "b"})
    assert sample.calls[-1].progressed == [(0.5, "half")]


def test_session_hooks_run_once_each() -> None:
    with start("support.sample:Sessions") as harness:
        harness.call("seen", session_id="a")
        harness.call("seen", session_id="a")
        harness.end_session("a")
        assert harness.call("seen") == ["start a", "end a"]
        assert isinstance(harness.adapter, Sessions)


def test_a_failing_setup_is_the_tests_failure() -> None:
    with pytest.raises(RuntimeError, match="no model here"):
        start(BadSetup)


# ---- the context


def context(call: Call | None = None, session_id: str = "s", deadline: float | None = None) -> Context:
    host = call or Call(session_id, MemoryState())
    return Context(CallInfo("c", "t", session_id, 1, {}, deadline), host, StateCache())


def test_compare_and_set_reports_a_conflict() -> None:
    state = context().state
    assert state.compare_and_set("k", 1, 0)
    assert not state.compare_and_set("k", 2, 0)
    assert state.get_versioned("k") == (1, 1)
    assert state.compare_and_set("k", 2, 1)
    assert state.get("k") == 2


def test_absent_keys_have_a_default_and_deletion_says_whether_there_was_one() -> None:
    state = context().state
    assert state.get("k", "default") == "default"
    state.set("k", None)
    assert state.get("k", "default") is None
    assert state.keys() == ["k"]
    assert state.delete("k")
    assert not state.delete("k")
    assert state.get_versioned("k") == (None, 0)


def test_a_cancelled_call_is_told_by_check() -> None:
    call = Call("", MemoryState())
    ctx = context(call)
    ctx.check()
    call.cancel()
    with pytest.raises(BaseException, match="the caller has cancelled"):
        ctx.check()


def test_a_store_that_fails_raises_its_own_error() -> None:
    class Down(MemoryState):
        def answer(self, session_id: str, asked: StateOperation) -> StateAnswer:
            return StateAnswer(0, failure=CallFailure("STORE_UNAVAILABLE", "the store is away", 1))

    state = context(Call("s", Down())).state
    for operation in (lambda: state.get("k"), lambda: state.set("k", 1), state.keys):
        with pytest.raises(StoreUnavailable, match="the store is away"):
            operation()


def test_progress_outside_its_range_and_tools_of_others_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        context().progress(2)
    with pytest.raises(ToolNotFound, match="this test offers no tool 'x'"):
        context().call_tool("x")


class Asking(Adapter):
    @tool
    def ask(self, *, ctx: Context) -> object:
        try:
            return ctx.call_tool("forever", pool="others", timeout=0.05)
        except DeadlineExceeded as error:
            return error.message


def test_what_stands_for_another_pools_tool_ends_with_the_deadline_of_the_call_to_it() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with start(Asking) as asking:
        asking.offer(forever, pool="others")
        assert "'forever'" in asking.call("ask")
    assert ended == [True]


def test_reads_come_from_the_cache_for_its_time_and_a_rebound_session_starts_afresh() -> None:
    cache, answer = StateCache(), StateAnswer(1, found=True)
    cache.put(("s", 1), "k", answer, now=10.0)
    assert cache.get(("s", 1), "k", now=10.0 + CACHE_SECONDS * 0.9) is answer
    assert cache.get(("s", 1), "k", now=10.0 + CACHE_SECONDS) is None
    assert cache.get(("s", 2), "k", now=10.0) is None


def test_cancelled_is_what_a_caller_of_the_harness_gets() -> None:
    with start(Sample) as harness:
        stream = harness.stream("count", {"to": 5})
        assert next(stream) == 0
        harness.calls[-1].cancel()
        with pytest.raises(Cancelled):
            next(stream)
