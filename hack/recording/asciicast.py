"""What a program wrote on a terminal, and when: asciicast, version 2, which asciinema plays."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CHUNK = 65536
ENDS_SECONDS = 5
"""So long a program has after it has closed its terminal, or after its time is over."""


@dataclass(frozen=True)
class Cast:
    """`began`: seconds since 1970. `events`: seconds since then, and what was written at that moment."""

    columns: int
    rows: int
    began: int
    title: str
    events: tuple[tuple[float, str], ...]

    def text(self) -> str:
        """The file."""
        header = {"version": 2, "width": self.columns, "height": self.rows, "timestamp": self.began, "title": self.title}
        lines: list[object] = [header, *([round(at, 3), "o", written] for at, written in self.events)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read(text: str) -> Cast:
    """Out of a file's text; only what was written counts, not what was typed."""
    header, *events = (json.loads(line) for line in text.splitlines())
    if header.get("version") != 2:
        raise ValueError(f"this is an asciicast of version {header.get('version')!r}; version 2 is read here")
    written = tuple((float(at), str(data)) for at, kind, data in events if kind == "o")
    return Cast(header["width"], header["height"], header.get("timestamp", 0), header.get("title", ""), written)


def record(command: Sequence[str], folder: Path, *, columns: int, rows: int, seconds: float) -> Cast:
    """Runs a program on a terminal of that size, as if somebody had typed it. RuntimeError with its words if it fails, or takes longer."""
    began, start = int(time.time()), time.monotonic()
    typed = tuple(_typed(" ".join(command)))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = _environment() | {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)}
    program = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    try:
        os.close(theirs)
        events = tuple((typed[-1][0] + at - start, written) for at, written in _written(ours, start + seconds))
        if status := _status(program):
            raise RuntimeError(f"{' '.join(command)} {status}:\n{''.join(written for _, written in events)}")
    finally:
        os.close(ours)
    return Cast(columns, rows, began, " ".join(command), (*typed, *events))


def _environment() -> dict[str, str]:
    """As from a shell of its own: a make above would have a make below say where it is."""
    return {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


def _status(program: subprocess.Popen[bytes]) -> str:
    """How it ended, if not well; one that goes on without a terminal is killed."""
    try:
        code = program.wait(ENDS_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        return "did not end in time"
    return f"ended with {code}" if code else ""


def _written(terminal: int, until: float) -> Iterator[tuple[float, str]]:
    """Until the program and all that came of it have closed the terminal."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while (left := until - time.monotonic()) > 0:
        readable, _, _ = select.select([terminal], [], [], left)
        if not readable:
            return
        try:
            data = os.read(terminal, CHUNK)
        except OSError:  # EIO: how Linux says that nobody has it open any more.
            return
        if not data:
            return
        yield time.monotonic(), decoder.decode(data)


def _typed(command: str) -> Iterator[tuple[float, str]]:
    """A prompt, and somebody who types."""
    yield 0.0, "$ "
    for at, letter in enumerate(command):
        yield 0.5 + at * 0.06, letter
    yield 1.0 + len(command) * 0.06, "\r\n"
