"""What a reader of a console's page is sent: only what changed, within its bytes a second, and nothing that a pool's text could forge."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from snakepit_gateway.console import live
from snakepit_gateway.console.live import BURST_BYTES, BYTES_PER_SECOND, Live, Part, Reader, event


def ids(parts: list[Part]) -> list[str]:
    return [each.id for each in parts]


def test_what_did_not_change_is_not_sent_again() -> None:
    reader = Reader()
    assert ids(reader.take([Part("a", "1"), Part("b", "1")], 0.0)) == ["a", "b"]
    assert ids(reader.take([Part("a", "1"), Part("b", "2")], 1.0)) == ["b"]


def test_of_a_list_those_of_its_elements_are_sent_that_changed_and_all_of_it_when_others_are_in_it() -> None:
    def workers(*states: str) -> list[Part]:
        children = tuple(Part(f"w{at}", state) for at, state in enumerate(states))
        return [Part("workers", "".join(states), " ".join(each.id for each in children), children)]

    reader = Reader()
    assert ids(reader.take(workers("idle", "idle"), 0.0)) == ["workers"]
    assert reader.take(workers("idle", "idle"), 1.0) == []
    assert ids(reader.take(workers("idle", "busy"), 2.0)) == ["w1"]
    assert ids(reader.take(workers("idle", "busy", "idle"), 3.0)) == ["workers"]
    assert reader.take(workers("idle", "busy", "idle"), 4.0) == []


def test_what_is_no_more_is_not_remembered() -> None:
    reader = Reader()
    for day in range(100):
        reader.take([Part("capsules", "", f"c{day}", (Part(f"c{day}", "idle"),))], day)
    assert set(reader.sent) == {"capsules", "c99"}


def test_a_reader_gets_so_many_bytes_a_second_and_what_it_got_longest_ago_first() -> None:
    reader, each, seconds = Reader(), BURST_BYTES // 10, 60
    sent: list[Part] = []
    for tick in range(2 * seconds):
        got = reader.take([Part(f"w{at}", f"{tick:0{each}}") for at in range(100)], tick / 2)
        sent += got
    assert sum(len(part.html) for part in sent) <= BYTES_PER_SECOND * seconds + BURST_BYTES + each
    times = [ids(sent).count(f"w{at}") for at in range(100)]
    assert max(times) - min(times) <= 1


def test_what_changed_while_there_was_no_room_is_sent_as_it_is_later() -> None:
    reader = Reader()
    reader.take([Part("large", "x" * 3 * BURST_BYTES)], 0.0)
    assert reader.take([Part("large", "x"), Part("b", "old")], 0.5) == []
    assert [part.html for part in reader.take([Part("large", "x"), Part("b", "new")], 60.0)] == ["new", "x"]


def test_text_with_line_ends_is_one_event() -> None:
    for end in ("\n", "\r", "\r\n"):
        lines = event([Part("a", f"<pre>1{end}{end}event: close{end}2</pre>")]).decode().splitlines()
        assert all(line.startswith("data: ") for line in lines[:-1])
        assert lines[-1] == ""


class Wire:
    """What is between a stream and its reader, who takes `takes` messages."""

    def __init__(self, takes: int) -> None:
        self.sent: list[Any] = []
        self._takes = takes

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    async def send(self, message: Any) -> None:
        if len(self.sent) >= self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)


async def look() -> list[Part]:
    return [Part("a", "1")]


async def run(stream: Live, wire: Wire) -> None:
    async with asyncio.timeout(10):
        await stream({"type": "http"}, wire.receive, wire.send)


async def test_a_reader_who_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(live, "FAREWELL_SECONDS", 0.05)
    readers: list[int] = []
    wire = Wire(takes=1)
    await run(Live(look, lambda: 0.01, asyncio.Event(), readers.append), wire)
    assert readers == [1, -1]
    assert len(wire.sent) == 1


async def test_a_stream_ends_when_the_server_does() -> None:
    leaving, wire = asyncio.Event(), Wire(takes=10)
    task = asyncio.create_task(run(Live(look, lambda: 0.01, leaving), wire))
    while len(wire.sent) < 2:
        await asyncio.sleep(0)
    leaving.set()
    await task
    assert wire.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_a_mistake_of_ours_in_a_stream_is_not_kept_quiet() -> None:
    async def fails() -> list[Part]:
        raise LookupError("a mistake")

    with pytest.raises(LookupError):
        await run(Live(fails, lambda: 0.01, asyncio.Event()), Wire(takes=10))
