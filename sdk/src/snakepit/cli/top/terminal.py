"""A terminal whose screen is ours for a while: what is typed, its size, and lines on it. At the end it is as it was."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence

from snakepit.cli.top.screen import Line

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""The other screen without a cursor, where no line is folded; and back."""

_LOOKS = {"title": "1", "heading": "1;4", "selected": "7", "warning": "33", "quiet": "2"}
_PLAIN = {**_LOOKS, "warning": "1"}
"""For who wants no colours: https://no-color.org"""

_READ_BYTES = 4096
CTRL_C = "\x03"


class Terminal:
    """Standard input and output."""

    def __init__(self) -> None:
        self._looks = _PLAIN if os.environ.get("NO_COLOR") else _LOOKS

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        found = shutil.get_terminal_size()
        return found.columns, found.lines

    def draw(self, lines: Sequence[Line]) -> None:
        """Over what is there, so that nothing flickers. What would steer the terminal is shown as a question mark."""
        drawn = "\x1b[K\r\n".join(self._drawn(each) for each in lines)
        sys.stdout.write(f"\x1b[H{drawn}\x1b[K\x1b[J")
        sys.stdout.flush()

    def _drawn(self, line: Line) -> str:
        text = line.text if line.text.isprintable() else "".join(each if each.isprintable() else "?" for each in line.text)
        return f"\x1b[{self._looks[line.look]}m{text}\x1b[0m" if line.look else text


@contextlib.contextmanager
def taken(on_typed: Callable[[str], None], on_size: Callable[[], None]) -> Iterator[Terminal]:
    """Until the block is left, however it is left. Ctrl-C is typed as other keys are; both are called in the event loop."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    before = termios.tcgetattr(descriptor)

    def read() -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except OSError:
            data = b""
        on_typed(decoder.decode(data) if data else CTRL_C)  # Without any, the terminal has gone.

    with contextlib.ExitStack() as undo:
        undo.callback(termios.tcsetattr, descriptor, termios.TCSAFLUSH, before)
        tty.setraw(descriptor)
        undo.callback(_write, _LEAVE)
        _write(_ENTER)
        loop.add_signal_handler(signal.SIGWINCH, on_size)
        undo.callback(loop.remove_signal_handler, signal.SIGWINCH)
        loop.add_reader(descriptor, read)
        undo.callback(loop.remove_reader, descriptor)
        yield Terminal()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
