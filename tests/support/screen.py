"""A program on a terminal of its own: what is on its screen, and keys for it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Callable
from types import TracebackType

from .dev_server import wait_until

SECONDS = 60.0
_STYLE = re.compile(r"\x1b\[[0-9;]*m|\x1b\[K")


class Screen:
    """For programs that draw whole screens, each from its upper left corner on (`ESC [H` … `ESC [J`)."""

    def __init__(self, command: list[str], columns: int = 120, rows: int = 30) -> None:
        self._master, slave = pty.openpty()
        self._told, self._lock = b"", threading.Lock()
        self.resize(columns, rows)
        self.settings = termios.tcgetattr(slave)
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=kept | {"TERM": "xterm"}, start_new_session=True
        )
        self._slave = slave
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        os.close(self._slave)
        self._reader.join(SECONDS)
        os.close(self._master)

    @property
    def told(self) -> str:
        """All that it ever wrote."""
        with self._lock:
            return self._told.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """Of the last whole screen."""
        screens = self.told.rpartition("\x1b[J")[0]
        return [line.rstrip() for line in _STYLE.sub("", screens.rpartition("\x1b[H")[2]).split("\r\n")]

    @property
    def settings_now(self) -> list[object]:
        return list(termios.tcgetattr(self._slave))

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, true_of: Callable[[list[str]], object], what: str) -> list[str]:
        """Wait until the screen is so; returns it."""
        try:
            wait_until(lambda: true_of(self.lines), what, SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.lines)) from None
        return self.lines

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # It has ended, and nobody has the other side.
                return
            with self._lock:
                self._told += data
