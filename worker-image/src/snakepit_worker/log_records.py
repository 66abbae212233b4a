"""What the processes of a capsule write, as log lines: how it is cut, labelled, formatted, and bounded. Pure: no I/O, no clock.

A process writes into a pipe: records of ours (`MARK`, a JSON array, a newline), which know their call, and between them whatever
C code and child processes write. Nothing in the pipe can end a line of the log early, and nothing there grows without bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from snakepit._telemetry import log_lines
from snakepit._telemetry.log_lines import Detail, LogLine
from snakepit._values.strings import readable

MARK = b"\x1e"
"""Begins a record: "record separator" in ASCII. JSON never contains it as it is."""

PIECE = 16_000
"""A line of more bytes, or characters, is given out in pieces of so many."""

RECORD_BYTES = 384 * 1024
"""No record of ours is longer: its message and its exception have a piece each, and its details as much as one, which JSON makes up to six
times as long."""

END = "end"


class Label(msgspec.Struct, array_like=True, frozen=True):
    """Which call wrote it; empty: none, or nobody knows. `traceparent`: the tool's own span, where the call is traced."""

    call: str = ""
    session: str = ""
    tool: str = ""
    traceparent: str = ""


NO_CALL = Label()


class Record(msgspec.Struct, array_like=True):
    """One line. `source`: stdout, stderr, or a logger's name; empty for what came without a record. `level` END: no line, but the end of
    the call in `label`, which wrote everything since the record before."""

    when: Annotated[float, msgspec.Meta(ge=0, le=253402300799)]  # the end of the year 9999, in Unix seconds
    level: str
    source: str
    message: str
    label: Label = NO_CALL
    exception: str = ""
    details: dict[str, Detail] = {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


def encode(record: Record) -> bytes:
    """The record as it is written into the pipe."""
    try:
        return MARK + _encode(record) + b"\n"
    except UnicodeEncodeError:  # lone surrogates
        texts = {"message": readable(record.message), "exception": readable(record.exception)}
        clean = msgspec.structs.replace(record, **texts, details=_clean(record.details))
        return MARK + _encode(clean) + b"\n"


def _clean(details: Mapping[str, Detail]) -> dict[str, Detail]:
    return {readable(name): readable(value) if isinstance(value, str) else value for name, value in details.items()}


class Splitter:
    """The bytes of one pipe, as records. `feed` takes them as they come; the label is that of the call that seems to run."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, label: Label, now: float) -> list[Record]:
        """Take the next bytes: the records that they complete. `now`: Unix seconds."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > (RECORD_BYTES if self._rest.startswith(MARK) else PIECE):
            lines, self._rest = [*lines, self._rest], b""
        return self._records(lines, label, now)

    def end(self, label: Label, now: float) -> list[Record]:
        """Nothing follows: also what has no newline is a line."""
        rest, self._rest = self._rest, b""
        return self._records([rest], label, now) if rest else []

    def _records(self, lines: list[bytes], label: Label, now: float) -> list[Record]:
        """What lies before the end of a call is that call's."""
        records: list[Record] = []
        unlabelled = 0
        for line in lines:
            for record in _parse(line, label, now):
                if record.level != END:
                    records.append(record)
                    continue
                for earlier in records[unlabelled:]:
                    if not earlier.source:
                        earlier.label = record.label
                unlabelled = len(records)
        return records


def _parse(line: bytes, label: Label, now: float) -> Iterator[Record]:
    head, mark, tail = line.rpartition(MARK)
    if mark:
        try:
            record = _decode(tail)
        except (msgspec.DecodeError, UnicodeDecodeError):
            head, mark = line, b""
    else:
        head = tail
    if head or not mark:
        text = head.decode("utf-8", "backslashreplace").removesuffix("\r")
        for start in range(0, max(len(text), 1), PIECE):
            yield Record(now, "info", "", text[start : start + PIECE], label)
    if mark:
        yield record


def line(record: Record, component: Any, worker: str) -> LogLine:
    """The record as a line of the log (docs/logs.md). What the author's process makes up is kept to its form."""
    label, printed = record.label, record.source in ("stdout", "stderr")
    return LogLine(
        time=log_lines.moment(record.when),
        level=record.level if record.level in log_lines.LEVELS else "info",
        component=component,
        message=record.message,
        logger="" if printed else record.source,
        stream=record.source if printed else "",  # type: ignore[arg-type]
        worker=worker,
        call=label.call,
        session=label.session,
        tool=label.tool,
        exception=record.exception,
        details=log_lines.details(record.details),
        **log_lines.trace_ids(label.traceparent),
    )


def as_json(record: Record, component: str, worker: str) -> bytes:
    """The record as a line of the log for programs."""
    return log_lines.encode(line(record, component, worker))


def as_text(record: Record, component: str, worker: str) -> bytes:
    """A line of the log for people."""
    return f"{log_lines.as_text(line(record, component, worker))}\n".encode("utf-8", "backslashreplace")


class Backlog:
    """Lines that wait for whoever reads the log. What doesn't fit is dropped, the newest first, and counted for each source."""

    def __init__(self, most: int = 1 << 20) -> None:
        self._most = most
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped: Counter[Any] = Counter()

    def add(self, line: bytes, source: Any) -> None:
        """Let the line wait, or count it for its source where there is no room."""
        if self._bytes + len(line) > self._most:
            self._dropped[source] += 1
            return
        self._lines.append(line)
        self._bytes += len(line)

    def take(self) -> tuple[list[bytes], dict[Any, int]]:
        """All lines that wait, and how many were dropped after them."""
        lines, dropped = self._lines, dict(self._dropped)
        self._lines, self._bytes = [], 0
        self._dropped.clear()
        return lines, dropped

    def __bool__(self) -> bool:
        return bool(self._lines or self._dropped)
