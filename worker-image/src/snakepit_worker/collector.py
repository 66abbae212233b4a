"""Reads what the capsule's processes write and gives it out as log lines, in a process of its own: output is never the keeper's work.

It never lets a writer wait for whoever reads the log: it reads on, keeps what fits a bounded backlog, and counts the rest. `Collector` is
the keeper's view of it. The keeper keeps a copy of every pipe, so that a collector that was killed is replaced and nothing is lost.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from snakepit._ipc.log_ring import LogRing, make_ring
from snakepit._ipc.sockets import close_all, packet_pair, recv_packet, send_packet
from snakepit_worker.log_records import NO_CALL, Backlog, Label, Record, Splitter, as_json, as_text
from snakepit_worker.processes import name_process, signal_process

GATHER_SECONDS = 0.005
"""After a look at the pipes: what comes meanwhile is read together."""

LINGER_SECONDS = 2.0
"""At the end of the keeper, for what is still in the pipes and for a log that is read slowly."""

NOTE_BYTES = 1024
_READ_BYTES = 1 << 16
_STDERR = 2


class Sink(NamedTuple):
    """What a process is given to write to: the pipe's end, and the file in which it notes the call that runs."""

    output: int
    note: int


class Source(msgspec.Struct, array_like=True, frozen=True):
    """Who writes into a pipe. `worker`: its id; empty: a program of ours."""

    component: str
    worker: str = ""


class Collector:
    """The keeper's view. `pid` is that of the process; `ring` has the last lines, for the agent."""

    def __init__(self) -> None:
        self._log = os.dup(_STDERR)
        self.ring = make_ring()
        self._sources: dict[str, tuple[Source, int, int]] = {}
        self._unsent: deque[str] = deque()
        self._closing: set[str] = set()
        self._start()

    def open(self, key: str, component: str, worker: str = "") -> Sink:
        """A pipe for a new process; the caller closes the `Sink`'s descriptors. OSError: there are no more descriptors."""
        with contextlib.ExitStack() as undo:
            reader, writer = os.pipe()
            undo.callback(close_all, (reader, writer))
            note = os.memfd_create("snakepit-call")
            undo.callback(os.close, note)
            os.truncate(note, NOTE_BYTES)
            self._sources[key] = (Source(component, worker), reader, os.dup(note))
            undo.pop_all()
        self._unsent.append(key)
        self.flush()
        return Sink(writer, note)

    def close(self, key: str) -> None:
        """The process has ended. What it has left in its pipe still comes out."""
        if key in self._unsent:
            self._closing.add(key)
        else:
            self._forget(key)

    def flush(self) -> bool:
        """Tell the process about new pipes, without waiting. True: not all fit."""
        while self._unsent:
            source, *descriptors = self._sources[self._unsent[0]]
            try:
                send_packet(self._control, msgspec.msgpack.encode(source), descriptors, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False  # It has ended: `reaped` is next, and begins anew.
            if (key := self._unsent.popleft()) in self._closing:
                self._forget(key)
        return False

    def _forget(self, key: str) -> None:
        self._closing.discard(key)
        if (found := self._sources.pop(key, None)) is not None:
            close_all(found[1:])

    def reaped(self, pid: int) -> bool:
        """True: it was the collector, and another has taken its place."""
        if pid != self.pid:
            return False
        self._control.close()
        self._start()
        return True

    def dismiss(self) -> None:
        """In good order: everything that was written comes out, unless the log isn't read."""
        self._control.close()
        end = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < end:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return
            time.sleep(0.005)
        signal_process(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _start(self) -> None:
        self._control, theirs = packet_pair()
        with theirs:
            self.pid = os.fork()
            if self.pid == 0:
                _run(theirs, self._log, self.ring)
        self._unsent = deque(self._sources)
        self.flush()


def _run(control: socket.socket, log: int, ring: int) -> None:
    """Never returns. The keeper's descriptors are not ours: a pipe ends when its last writer does."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        os.dup2(log, _STDERR)
        _close_others({_STDERR, control.fileno(), ring})
        name_process("snakepit-logs")
        _Reader(control, LogRing(ring), text=os.environ.get("SNAKEPIT_LOG_FORMAT", "json") == "text").run()
    finally:
        os._exit(0)


def _close_others(kept: set[int]) -> None:
    for descriptor in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)


class _Pipe:
    """One process's output, and which call it is likely to be from."""

    def __init__(self, source: Source, reader: int, note: int) -> None:
        self.source = source
        self.reader = reader
        self._splitter = Splitter()
        self._note = mmap.mmap(note, NOTE_BYTES, access=mmap.ACCESS_READ)
        os.close(note)

    def read(self) -> tuple[list[Record], bool]:
        """What has come, and whether more may come."""
        before = self._running()
        data = os.read(self.reader, _READ_BYTES)
        label = before if before.call else self._running()
        if data:
            return self._splitter.feed(data, label, time.time()), True
        return self._splitter.end(label, time.time()), False

    def close(self) -> None:
        os.close(self.reader)
        self._note.close()

    def _running(self) -> Label:
        call, *others = self._note[:].split(b"\n")[:3]
        if not call.strip(b"\0") or call.startswith(b"\0") or len(others) < 2:
            return NO_CALL
        return Label(*(each.decode("utf-8", "replace") for each in (call, *others)))


class _Reader:
    """The collector's loop."""

    def __init__(self, control: socket.socket, ring: LogRing, *, text: bool) -> None:
        self._format: Callable[[Record, str, str], bytes] = as_text if text else as_json
        self._ring = ring
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, None)
        self._pipes = 0
        self._end: float | None = None
        self._writer = _Writer(self._dropped)

    def run(self) -> None:
        while self._end is None or (self._pipes and time.monotonic() < self._end):
            for key, _ in self._selector.select(None if self._end is None else 0.05):
                if key.data is None:
                    self._listen()
                else:
                    self._read(key.data)
            time.sleep(GATHER_SECONDS)
        self._writer.finish()

    def _listen(self) -> None:
        packet = recv_packet(self._control)
        if packet is None:
            self._selector.unregister(self._control)
            self._end = time.monotonic() + LINGER_SECONDS / 2
            return
        pipe = _Pipe(msgspec.msgpack.decode(packet.data, type=Source), *packet.descriptors)
        self._selector.register(pipe.reader, selectors.EVENT_READ, pipe)
        self._pipes += 1

    def _read(self, pipe: _Pipe) -> None:
        records, more = pipe.read()
        source = pipe.source
        lines = [as_json(each, source.component, source.worker) for each in records]
        self._ring.add(lines)
        if self._format is not as_json:
            lines = [self._format(each, source.component, source.worker) for each in records]
        self._writer.add(lines, source)
        if not more:
            self._selector.unregister(pipe.reader)
            self._pipes -= 1
            pipe.close()

    def _dropped(self, source: Source, count: int) -> bytes:
        sentence = f"{count} lines of {source.worker or source.component} were dropped here: whoever reads this log is too slow"
        return self._format(Record(time.time(), "warning", "snakepit.logs", sentence), source.component, source.worker)


class _Writer:
    """A thread of its own, because a write may last as long as the log's reader likes."""

    def __init__(self, dropped: Callable[[Source, int], bytes]) -> None:
        self._dropped = dropped
        self._backlog = Backlog()
        self._changed = threading.Condition()
        self._idle = True
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, lines: list[bytes], source: Any) -> None:
        with self._changed:
            for line in lines:
                self._backlog.add(line, source)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all is written, but not for ever."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle and not self._backlog, LINGER_SECONDS / 2)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._backlog))
                self._idle = False
                lines, dropped = self._backlog.take()
            _write(b"".join([*lines, *(self._dropped(source, count) for source, count in dropped.items())]))


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(_STDERR, view) :]
        except BlockingIOError:  # somebody has made it so; it is not ours alone
            time.sleep(GATHER_SECONDS)
        except OSError:
            sys.exit()  # Nobody reads: this thread ends, and what comes is counted and forgotten.
