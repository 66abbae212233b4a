"""What a process of the capsule prints and logs leaves as records for the collector (see `lines`), each with the call that it is of.

`install` takes over `sys.stdout`, `sys.stderr` and the root logger. What C code and child processes write to the descriptors 1 and 2 goes
into the same pipe as it is. The pipe has a descriptor of its own besides: closing the two silences nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import mmap
import os
import select
import sys
import threading
import time
from contextvars import ContextVar
from typing import Any, Protocol

from snakepit._ipc.worker import CallFrame
from snakepit._telemetry.log_lines import THRESHOLDS, bounded, details, extra_of, level_of
from snakepit_worker.explained import explain, safe_text
from snakepit_worker.log_records import END, NO_CALL, PIECE, Label, Record, encode

_FIONREAD = 0x541B

task_call: ContextVar[CallFrame | None] = ContextVar("snakepit_call", default=None)
"""The call that this thread, or this task, works for."""


class Calls(Protocol):
    """Told of every call that begins and ends, so that its lines are known by it."""

    def begin(self, frame: CallFrame, *, quick: bool) -> None: ...

    def end(self) -> None: ...


class OneCall:
    """Where one alone runs at a time: also what other threads, C code and child processes write is of that call."""

    def __init__(self) -> None:
        self.frame: CallFrame | None = None
        self._note: mmap.mmap | None = None

    def share(self, note: int) -> None:
        """The file that the collector reads, for what comes without a record. Takes the descriptor."""
        self._note = mmap.mmap(note, 0)
        os.close(note)

    def begin(self, frame: CallFrame, *, quick: bool) -> None:
        """`quick`: to know what its C code writes is not worth the microseconds."""
        self.frame = frame
        if self._note is not None and not quick:
            note = f"{frame.call_id}\n{frame.session_id}\n{frame.tool}\n".encode()[: len(self._note)]
            self._note[: len(note)] = note

    def end(self) -> None:
        """What lies unread in the pipe is this call's, and is marked as such."""
        _finish_lines()
        frame, self.frame = self.frame, None
        if self._note is not None and self._note[0] and frame is not None:
            if _pipe.unread():
                _pipe.write(encode(Record(0.0, END, "", "", _label(frame))))
            self._note[0] = 0


class ManyCalls:
    """Where several run at a time, each in a thread or task of its own: what comes without a record is the worker's alone."""

    def begin(self, frame: CallFrame, *, quick: bool) -> None:
        """This thread works for the call from now on."""
        task_call.set(frame)

    def end(self) -> None:
        """This thread works for no call any more."""
        _finish_lines()
        task_call.set(None)


one_call = OneCall()


def _current() -> CallFrame | None:
    return task_call.get() or one_call.frame


def _label(frame: CallFrame | None) -> Label:
    return NO_CALL if frame is None else Label(frame.call_id, frame.session_id, frame.tool, frame.traceparent)


class _Pipe:
    """The way to the collector. Logging never fails and never raises: a process whose log has gone works on."""

    def __init__(self) -> None:
        self.descriptor = -1
        self.waits = True

    def write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except BlockingIOError:
                if not self.waits:
                    return
                select.select([], [self.descriptor], [])  # the author has made the pipe so
            except OSError:
                return

    def unread(self) -> bool:
        with contextlib.suppress(OSError):
            return any(fcntl.ioctl(self.descriptor, _FIONREAD, bytes(4)))
        return False


_pipe = _Pipe()


class Printed(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr`: each line is a record; what has no newline yet waits for it, or for `flush`, or for another call."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(io.FileIO(descriptor, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True)
        self.is_partial = False
        self._source = name
        self._pending = threading.local()

    def write(self, text: str, /) -> int:
        """Take text: whole lines leave at once, as records of the call that runs."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        pending, frame = self._of_this_thread(), _current()
        if frame is not pending.frame:
            self.finish()
            pending.frame = frame
        whole: str = pending.text + text
        if "\n" not in text and len(whole) <= PIECE:
            pending.text = whole
            self.is_partial = True
            return len(text)
        *lines, rest = whole.split("\n")
        lines = [_as_seen(line) for line in lines]
        # Something stays for the newline to come, which else would be a line of its own.
        cut = max(len(rest) - 1, 0) // PIECE * PIECE
        if cut:
            lines.append(rest[:cut])
        pending.text = rest[cut:]
        self.is_partial = self.is_partial or bool(pending.text)
        self._emit(lines, frame)
        return len(text)

    def flush(self) -> None:
        """A line that begins with a carriage return is one that shall be written over, a progress bar's: it waits for its last form."""
        pending = self._of_this_thread()
        if pending.text.startswith("\r"):
            pending.text = "\r" + _as_seen(pending.text)
        else:
            self.finish()

    def finish(self) -> None:
        """What has no newline yet is a line."""
        pending = self._of_this_thread()
        text, pending.text = _as_seen(pending.text), ""
        if text:
            self._emit([text], pending.frame)

    def close(self) -> None:
        """The process has one, and others write to it."""
        self.finish()

    def _of_this_thread(self) -> Any:
        pending = self._pending
        if not hasattr(pending, "text"):
            pending.text, pending.frame = "", None
        return pending

    def _emit(self, lines: list[str], frame: CallFrame | None) -> None:
        now, label = time.time(), _label(frame)
        pieces = (line[start : start + PIECE] for line in lines for start in range(0, max(len(line), 1), PIECE))
        _pipe.write(b"".join(encode(Record(now, "info", self._source, piece, label)) for piece in pieces))


def _as_seen(line: str) -> str:
    """On a terminal, where a carriage return begins the line anew."""
    return line.rstrip("\r").rpartition("\r")[2] if "\r" in line else line


_streams: list[Printed] = []


def _finish_lines() -> None:
    """At the end of a call, what it has left without a newline is a line."""
    for stream in _streams:
        if stream.is_partial:
            stream.is_partial = False
            stream.finish()


class _Handler(logging.Handler):
    """Gives out log records, with their exceptions."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message, exception, more = record.getMessage(), self._exception(record), details(extra_of(record))
        except Exception as error:
            message, exception, more = _unformatted(record, error), "", {}
        said = bounded(message, PIECE)
        _pipe.write(encode(Record(record.created, level_of(record.levelno), record.name, said, _label(_current()), exception, more)))

    @staticmethod
    def _exception(record: logging.LogRecord) -> str:
        text = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        return text[-PIECE:]


def _unformatted(record: logging.LogRecord, error: Exception) -> str:
    """Instead of a message whose arguments don't fit: where it is, so that its author can mend it."""
    message = record.msg if type(record.msg) is str else f"a {type(record.msg).__name__}"
    return f"{message!r} can't be logged, at line {record.lineno} of {record.pathname}: {type(error).__name__}: {safe_text(error)}"


def write(level: str, source: str, message: str, exception: str = "") -> None:
    """A record of ours, of the call that runs here: no configuration of the author's loses it."""
    _pipe.write(encode(Record(time.time(), level, source, bounded(message, PIECE), _label(_current()), exception[-PIECE:])))


def install() -> None:
    """In a process whose descriptors 1 and 2 are a pipe of the collector's. What the author configures later replaces it."""
    _pipe.descriptor = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 64)
    _streams[:] = [Printed(1, "stdout"), Printed(2, "stderr")]
    sys.stdout = sys.__stdout__ = _streams[0]  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _streams[1]  # type: ignore[misc]
    level = os.environ.get("SNAKEPIT_LOG_LEVEL", "info").lower()
    logging.basicConfig(level=THRESHOLDS.get(level, logging.INFO), handlers=[_Handler()], force=True)
    threading.excepthook = _told_of_a_thread


def _told_of_a_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is SystemExit:
        return  # as Python has it
    name = told.thread.name if told.thread is not None else "unknown"
    explained = explain(told.exc_value or told.exc_type(), hidden=())  # It may be a thread of ours.
    write("error", "threading", f"the thread {name} ends: {explained['type']}: {explained['message']}", explained["traceback"])


def redirect(output: int) -> None:
    """From now on into another pipe: in a fork. Takes the descriptor."""
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(output, _pipe.descriptor, inheritable=False)
    os.close(output)


def dont_wait() -> None:
    """What doesn't fit the pipe is lost: for a process that must never wait, and whose pipe is nobody else's."""
    os.set_blocking(_pipe.descriptor, False)
    _pipe.waits = False
