"""Which of the last log lines of a capsule somebody gets."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from snakepit._ipc.log_ring import LogRing, make_ring
from snakepit._telemetry import log_lines
from snakepit._telemetry.log_lines import LogLine
from snakepit_agent.workers.log_lines import MOST_BYTES, LogLines
from support.descriptors import open_files


def line(message: str, worker: str = "c/0", call: str = "") -> bytes:
    at = "2026-11-30T00:00:00.000Z"
    return log_lines.encode(LogLine(time=at, level="info", component="worker", worker=worker, call=call, message=message))


@pytest.fixture
def kept() -> Iterator[LogLines]:
    made = LogLines()
    yield made
    made.close()


def came(kept: LogLines) -> LogRing:
    """Another keeper."""
    ring = make_ring()
    writer = LogRing(ring)
    kept.keeper_came(ring)
    return writer


def said(kept: LogLines, limit: int = 10, **of: str) -> list[str]:
    return [message(each) for each in kept.last(limit, **of)]


def message(text: str) -> str:
    read = log_lines.decode(text)
    assert read is not None
    return read.message


def test_lines_are_those_of_a_worker_or_a_call_and_the_last_ones(kept: LogLines) -> None:
    came(kept).add([line("a"), line("b", "c/1"), line("c", call='odd "id" é'), line("d"), line("e", "c/1", 'odd "id" é')])
    assert said(kept) == ["a", "b", "c", "d", "e"]
    assert said(kept, 2) == ["d", "e"]
    assert said(kept, worker="c/1") == ["b", "e"]
    assert said(kept, call='odd "id" é') == ["c", "e"]
    assert said(kept, worker="c/1", call='odd "id" é') == ["e"]
    assert said(kept, worker="c/2") == []


def test_what_a_tool_prints_makes_no_line_that_of_another_call_and_what_is_none_is_left_out(kept: LogLines) -> None:
    came(kept).add([line('{"call":"mine"}'), b"no json\n", b'{"message":"\xff","call":"mine"}\n', line("so", call="mine")])
    assert said(kept, call="mine") == ["so"]
    assert said(kept) == ['{"call":"mine"}', "so"]


def test_the_last_lines_of_the_keeper_before_are_there_and_no_others(kept: LogLines) -> None:
    assert not kept.are_kept
    for number in range(4):
        came(kept).add([line(f"of keeper {number}")])
    assert said(kept) == ["of keeper 2", "of keeper 3"]


def test_one_answer_has_so_many_bytes(kept: LogLines) -> None:
    writer = came(kept)
    for number in range(20):
        writer.add([line(f"{number:02d}" + "x" * 16_000)])
    found = kept.last(1000)
    assert MOST_BYTES * 0.8 < sum(map(len, found)) <= MOST_BYTES
    assert message(found[-1]).startswith("19")


def test_what_is_no_ring_is_passed_over_and_nothing_is_left_open(kept: LogLines, caplog: pytest.LogCaptureFixture) -> None:
    before = open_files()
    kept.keeper_came(os.open(os.devnull, os.O_RDONLY))
    assert "can't be shown" in caplog.text
    assert not kept.are_kept
    for _ in range(3):
        came(kept)
    kept.close()
    assert not open_files() - before
