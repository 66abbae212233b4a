"""Tools that call tools, in a test's own process: what the context gives, and what the test gives it to find."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from snakepit import DeadlineExceeded, InvalidArguments, Started, ToolError, ToolNotFound
from snakepit._ipc.frames import CallFailure, Payload, ToolAnswer, ToolChunk
from snakepit.author.pending_call import PendingCall, ToolRequest, chunk_of, deadline_of, next_of, value_of, wait_for
from snakepit.testing import start
from support.asking import Asking


def shout(text: str) -> str:
    return text.upper()


async def shout_later(text: str) -> str:
    await asyncio.sleep(0)
    return text.upper()


def numbers(to: int) -> Iterator[int]:
    yield from range(to)


async def numbers_later(to: int) -> AsyncIterator[int]:
    for i in range(to):
        yield i


def test_a_test_gives_the_tools_that_its_adapter_calls() -> None:
    with start(Asking) as asking:
        asking.offer(shout, shout_later, numbers, numbers_later)
        for tool in ("ask", "ask_later"):
            assert asking.call(tool, {"name": "shout", "arguments": {"text": "a"}}) == "A"
            assert asking.call(tool, {"name": "shout_later", "arguments": {"text": "b"}}) == "B"
            assert asking.call(tool, {"name": "numbers", "arguments": {"to": 3}}) == [0, 1, 2]
        for tool in ("stream", "stream_later"):
            assert list(asking.stream(tool, {"name": "numbers", "arguments": {"to": 3}})) == [0, 1, 2]
            assert list(asking.stream(tool, {"name": "numbers_later", "arguments": {"to": 2}})) == [0, 1]
        assert asking.call("ask_all", {"name": "shout", "values": []}) == []
        assert [each.name for each in asking.doubles.asked[:2]] == ["shout", "shout_later"]


def test_tools_of_another_pool_are_given_by_its_name() -> None:
    def charge(item: str) -> str:
        return f"charged {item}"

    with start(Asking) as asking:
        asking.offer(charge, pool="payments")
        assert asking.call("ask", {"name": "charge", "arguments": {"item": "tea"}, "pool": "default/payments"}) == "charged tea"
        assert asking.call("refused", {"name": "charge", "arguments": {"item": "tea"}})[1] == "TOOL_NOT_FOUND"


def test_failures_are_those_of_a_real_call() -> None:
    def broken() -> None:
        raise LookupError("not here")

    with start(Asking) as asking:
        asking.offer(shout, broken)
        assert asking.call("refused", {"name": "broken"})[:4] == ["ToolError", "TOOL_ERROR", "YES", "LookupError: not here"]
        assert asking.call("refused", {"name": "shout", "arguments": {"loud": 1}})[0] == "InvalidArguments"
        kind, _, _, message, _ = asking.call("refused", {"name": "shuot"})
        assert kind == "ToolNotFound"
        assert "give it with offer()" in message


def test_a_name_a_pool_or_arguments_that_can_not_be_are_refused_before_anything_is_sent() -> None:
    for arguments in ({"name": "Not A Name"}, {"name": "x", "pool": "a/b/c"}):
        with start(Asking) as asking:
            assert asking.call("refused", arguments)[0] == "InvalidArguments"
            assert not asking.doubles.asked
    with pytest.raises(InvalidArguments, match="must be a mapping"):
        ToolRequest.of("x", [1], None, None, stream=False)  # type: ignore[arg-type]


def test_the_earlier_of_two_deadlines_holds() -> None:
    now = time.monotonic()
    assert deadline_of(None, None) is None
    assert deadline_of(now + 5, None) == now + 5
    assert deadline_of(now + 5, 60) == now + 5
    assert now < deadline_of(now + 50, 1) < now + 10  # type: ignore[operator]
    with pytest.raises(InvalidArguments, match="timeout 0 must be a positive number"):
        deadline_of(None, 0)
    for endless in (float("inf"), 1e308):
        assert deadline_of(None, endless) < now + 366 * 86400  # type: ignore[operator]


# ---- the pending call itself


class Told(PendingCall):
    """Counts what its host is told."""

    def __init__(self, deadline: float | None = None, *, stream: bool = True) -> None:
        self.taken = self.dropped = 0
        super().__init__(ToolRequest("t", Payload(b"{}"), "", deadline, stream), self._take, self._drop)

    def _take(self) -> None:
        self.taken += 1

    def _drop(self) -> None:
        self.dropped += 1


def test_parts_come_in_order_from_another_thread_and_the_host_hears_what_was_taken() -> None:
    pending = Told()

    def feed() -> None:
        for i in range(50):
            pending.add(ToolChunk(1, Payload(str(i).encode())))
        pending.add(ToolAnswer(1))

    thread = threading.Thread(target=feed)
    thread.start()
    got: list[Any] = []
    while (chunk := wait_for(pending, chunk_of)) is not None:
        got.append(int(chunk.data))
    thread.join()
    assert got == list(range(50))
    pending.close()
    assert (pending.taken, pending.dropped) == (50, 0)


def test_who_stops_listening_before_the_answer_says_so_once() -> None:
    pending = Told()
    pending.add(ToolChunk(1, Payload(b"1")))
    wait_for(pending, chunk_of)
    pending.close()
    pending.close()
    assert (pending.taken, pending.dropped) == (1, 1)


async def test_a_cancelled_wait_gives_the_call_up() -> None:
    pending = Told()
    waiting = asyncio.ensure_future(next_of(pending))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pending.dropped == 1
    pending.add(ToolAnswer(1))


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "async"])
async def test_without_an_answer_the_deadline_ends_the_wait(monkeypatch: pytest.MonkeyPatch, blocking: bool) -> None:
    monkeypatch.setattr("snakepit.author.pending_call.ANSWER_GRACE_SECONDS", 0.0)
    pending = Told(time.monotonic() + 0.01)
    with pytest.raises(DeadlineExceeded, match="before tool 't' answered") as caught:
        wait_for(pending, value_of) if blocking else await next_of(pending)
    assert caught.value.started is Started.MAYBE
    assert pending.dropped == 1


def test_an_answer_is_a_value_or_an_exception_that_keeps_its_reason_when_the_tool_lets_it_through() -> None:
    assert value_of(ToolAnswer(1, payload=Payload(b"[1]"))) == [1]
    assert value_of(ToolAnswer(1)) is None
    with pytest.raises(ToolNotFound) as caught:
        value_of(ToolAnswer(1, failure=CallFailure("TOOL_NOT_FOUND", "no", 1, {"nearest": "x"})))
    assert caught.value.of_context
    assert caught.value.details == {"nearest": "x"}
    assert not ToolError("a", "b").of_context
