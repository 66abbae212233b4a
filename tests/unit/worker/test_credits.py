"""Credit of a stream, cancellations that overtake, and interrupts of the main thread and of others."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from snakepit._ipc.frames import Payload
from snakepit._ipc.sockets import worker_frames
from snakepit._ipc.worker import STREAM_BYTES, STREAM_CREDIT, CallFrame, Pong, ProgressFrame
from snakepit.author.context import Interrupted
from snakepit_worker import runners
from snakepit_worker.channel import Channel
from snakepit_worker.interrupts import Interrupts, ThreadInterrupts
from snakepit_worker.runners import ThreadRunner
from snakepit_worker.running import Calls, Credits, RunningCall


def test_credit_runs_out_and_comes_back() -> None:
    credits = Credits()
    assert [credits.take(1) for _ in range(STREAM_CREDIT)] == [None] * STREAM_CREDIT
    waiting = credits.take(1)
    assert waiting is not None
    assert not waiting.done()
    credits.add(2)
    assert waiting.result(0) is None
    assert credits.take(1) is None
    assert credits.take(1) is not None


def test_credit_counts_bytes_and_lets_two_chunks_of_any_size_be_ahead() -> None:
    credits = Credits()
    assert [credits.take(STREAM_BYTES // 4) for _ in range(4)] == [None] * 4
    waiting = credits.take(64 * STREAM_BYTES)
    assert waiting is not None
    credits.add(1)
    assert not waiting.done()
    credits.add(1)
    assert waiting.result(0) is None
    credits.add(2)
    assert credits.take(64 * STREAM_BYTES) is None
    assert credits.take(1) is not None


def test_a_failure_reaches_who_waits_and_who_comes_later() -> None:
    credits = Credits()
    for _ in range(STREAM_CREDIT):
        credits.take(1)
    waiting = credits.take(1)
    assert waiting is not None
    credits.fail(Interrupted("CANCELLED"))
    with pytest.raises(Interrupted):
        waiting.result(0)
    with pytest.raises(Interrupted):
        credits.take(1)


def running_call(id: int) -> RunningCall:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
    return RunningCall(CallFrame(id, "c", "t", Payload(b"{}")), Channel(ours, theirs, Interrupts()))


def test_a_cancellation_finds_its_call_before_during_and_after() -> None:
    calls = Calls(ThreadRunner(ThreadInterrupts()))
    calls.interrupt(1, "CANCELLED")
    early, late = running_call(1), running_call(2)
    calls.begin(early)
    calls.begin(late)
    assert (early.reason, late.reason) == ("CANCELLED", "")
    calls.interrupt(2, "DEADLINE")
    assert late.reason == "DEADLINE"
    calls.end(early)
    calls.end(late)
    calls.interrupt(2, "CANCELLED")
    assert late.reason == "DEADLINE"


@pytest.fixture
def interrupts() -> Interrupts:
    interrupts = Interrupts()
    interrupts.install()
    return interrupts


def test_an_interrupt_raises_in_the_call_that_it_names(interrupts: Interrupts) -> None:
    def work() -> None:
        interrupts.interrupt(7, "DEADLINE")
        time.sleep(30)

    with pytest.raises(Interrupted) as caught:
        interrupts.run(7, work)
    assert caught.value.reason == "DEADLINE"


def test_an_interrupt_of_another_call_is_ignored(interrupts: Interrupts) -> None:
    def work() -> str:
        interrupts.interrupt(6, "CANCELLED")
        return "done"

    assert interrupts.run(7, work) == "done"
    interrupts.interrupt(7, "CANCELLED")
    assert interrupts.run(8, lambda: "next") == "next"


def test_an_interrupt_inside_a_shield_waits_for_its_end(interrupts: Interrupts) -> None:
    reached = []

    def work() -> None:
        with interrupts.shielded:
            interrupts.interrupt(7, "CANCELLED")
            reached.append("inside")
        reached.append("after")

    with pytest.raises(Interrupted):
        interrupts.run(7, work)
    assert reached == ["inside"]


def test_an_interrupt_of_a_thread_inside_a_shield_waits_for_its_end() -> None:
    interrupts, call, reached = ThreadInterrupts(), running_call(7), []

    def work() -> None:
        with interrupts.shielded:
            with interrupts.shielded:
                interrupt_from_another_thread(interrupts, call)
            reached.append("inside")
        reached.append("after")

    with pytest.raises(Interrupted) as caught:
        interrupts.run(call, work)
    assert (reached, caught.value.reason) == (["inside"], "CANCELLED")


class Halfway(socket.socket):
    """`then` is called when half of a message has gone."""

    then: Callable[[], None]

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        half = len(data) // 2
        super().sendall(data[:half])
        self.then()
        super().sendall(data[half:])


def test_an_interrupt_of_a_thread_that_comes_while_a_message_is_sent_breaks_it_not() -> None:
    interrupts, call = ThreadInterrupts(), running_call(7)
    end, theirs = socket.socketpair()
    ours = Halfway(fileno=end.detach())
    ours.then = lambda: interrupt_from_another_thread(interrupts, call)
    outbox = Channel(ours, theirs, interrupts)
    theirs.setblocking(False)
    with ours, theirs:
        with pytest.raises(Interrupted):
            interrupts.run(call, lambda: outbox.send(Pong(), ProgressFrame(7, 0.5, "half")))
        assert worker_frames().feed(theirs.recv(1000)) == [Pong(), ProgressFrame(7, 0.5, "half")]


def interrupt_from_another_thread(interrupts: ThreadInterrupts, call: RunningCall) -> None:
    call.reason = "CANCELLED"
    reader = threading.Thread(target=interrupts.interrupt, args=(call,))
    reader.start()
    reader.join()


def test_a_tool_that_keeps_the_interrupt_is_not_interrupted_twice(interrupts: Interrupts) -> None:
    def work() -> str:
        try:
            interrupts.interrupt(7, "CANCELLED")
            time.sleep(30)
        except Interrupted:
            interrupts.interrupt(7, "CANCELLED")
        return "went on"

    assert interrupts.run(7, work) == "went on"


def test_an_interrupt_that_comes_while_a_coroutine_is_handed_to_its_loop_ends_it_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever interrupts finds no way to cancel it yet, though it runs already."""
    call, runs, ends = running_call(7), threading.Event(), list[str]()
    submit = runners._submit  # noqa: SLF001  # The moment is within it.

    def slow(*arguments: Any) -> Any:
        found = submit(*arguments)
        assert runs.wait(10)
        call.reason = "CANCELLED"
        return found

    async def tool() -> None:
        try:
            runs.set()
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # What it does about that is not interrupted.
            ends.append("cleaned up")
            raise

    monkeypatch.setattr(runners, "_submit", slow)
    runner = ThreadRunner(ThreadInterrupts())
    try:
        with pytest.raises(Interrupted):
            runner.wait(call, tool())
    finally:
        runner.close()
    assert ends == ["cleaned up"]
