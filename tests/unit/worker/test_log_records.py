"""Log lines: cutting, labelling, formatting, bounding; no processes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from snakepit_worker.log_records import END, NO_CALL, PIECE, Backlog, Label, Record, Splitter, as_json, as_text, encode
from support import log_lines

CALL = Label("c1", "ada", "classify")
OTHER = Label("c2", "", "count")


def test_a_record_survives_the_pipe_whatever_it_says() -> None:
    record = Record(1.5, "info", "stdout", "a\nb\x1e\ud800 é", CALL, "trace")
    (read,) = Splitter().feed(encode(record), NO_CALL, 9.0)
    assert read == Record(1.5, "info", "stdout", "a\nb\x1e\\ud800 é", CALL, "trace")


def test_a_record_in_the_middle_of_a_raw_line_ends_that_line() -> None:
    records = Splitter().feed(b"raw" + encode(Record(1.0, "info", "stdout", "ours", CALL)) + b"raw again\n", OTHER, 9.0)
    assert [(each.message, each.label) for each in records] == [("raw", OTHER), ("ours", CALL), ("raw again", OTHER)]


def test_what_lies_before_the_end_of_a_call_is_that_calls() -> None:
    end = encode(Record(0.0, END, "", "", CALL))
    records = Splitter().feed(
        b"first\n" + encode(Record(1.0, "info", "stdout", "ours", NO_CALL)) + b"second\n" + end + b"third\n", OTHER, 9.0
    )
    assert [each.label for each in records] == [CALL, NO_CALL, CALL, OTHER]


def test_the_last_line_needs_no_end() -> None:
    splitter = Splitter()
    assert splitter.feed(b"half", CALL, 9.0) == []
    assert [each.message for each in splitter.end(CALL, 9.0)] == ["half"]
    assert splitter.end(CALL, 9.0) == []


@given(st.lists(st.one_of(st.binary(max_size=50), st.text(max_size=50)), max_size=8), st.integers(1, 60))
def test_whatever_is_written_in_whatever_pieces_every_line_is_json_and_no_record_is_lost(written: list[bytes | str], size: int) -> None:
    pipe = b"".join(encode(Record(1.0, "info", "stdout", each, CALL)) if isinstance(each, str) else each for each in written)
    splitter, records = Splitter(), []
    for start in range(0, len(pipe), size):
        records += splitter.feed(pipe[start : start + size], NO_CALL, 9.0)
    records += splitter.end(NO_CALL, 9.0)
    ours = [each.message for each in records if each.source == "stdout"]
    assert ours == [each.encode("utf-8", "backslashreplace").decode() for each in written if isinstance(each, str)]
    for record in records:
        line = as_json(record, "worker", "capsule/0")
        assert line.count(b"\n") == 1
        assert log_lines.line(line)["message"] == record.message


def test_a_line_that_never_ends_is_given_out_in_pieces() -> None:
    splitter = Splitter()
    records = [record for _ in range(100) for record in splitter.feed(b"x" * 1000, CALL, 9.0)] + splitter.end(CALL, 9.0)
    assert sum(len(each.message) for each in records) == 100_000
    assert max(len(each.message) for each in records) <= PIECE


def test_empty_fields_are_left_out() -> None:
    assert json.loads(as_json(Record(0.25, "info", "", "", NO_CALL), "zygote", "")) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "component": "zygote",
        "message": "",
    }


def test_lines_for_people_say_the_tool_and_the_session() -> None:
    assert as_text(Record(0.0, "info", "stdout", "hello", CALL), "worker", "c/0") == b"classify [ada]: hello\n"
    assert as_text(Record(0.0, "error", "mine", "bad", OTHER, "Trace\n"), "worker", "c/0") == b"count: ERROR mine: bad (call c2)\nTrace\n"
    assert as_text(Record(0.0, "info", "snakepit.tool.count", "3", OTHER), "worker", "c/0") == b"count: INFO: 3\n"
    assert as_text(Record(0.0, "info", "", "bare", NO_CALL), "worker", "c/0") == b"bare\n"


def test_a_full_backlog_drops_the_newest_and_counts_it_for_each_source() -> None:
    backlog = Backlog(most=10)
    for line, source in [(b"12345678", "a"), (b"abc", "b"), (b"abc", "b"), (b"9", "a")]:
        backlog.add(line, source)
    assert backlog.take() == ([b"12345678", b"9"], {"b": 2})
    assert not backlog
