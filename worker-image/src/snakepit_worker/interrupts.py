"""Ends the call that runs in the main thread by an exception in its running frame.

An interrupt names its call and is ignored when that call has ended; it is raised at most once a call, never inside a shield.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TypeVar

from snakepit.context import Interrupted

T = TypeVar("T")
SIGNAL = signal.SIGRTMAX - 1
"""A real-time signal: SIGUSR1 dumps the stacks, SIGUSR2 is the author's."""


class Interrupts:
    """Armed for one call at a time. The main thread alone arms; any thread interrupts."""

    def __init__(self) -> None:
        self._armed: int | None = None
        self._wanted: tuple[int, str] | None = None
        self._shields = 0
        self._main = threading.main_thread()
        self.shielded = _Shield(self)

    def install(self) -> None:
        """In the main thread of a worker whose tools run there."""
        signal.signal(SIGNAL, self._handle)

    def interrupt(self, call: int, reason: str) -> None:
        """From the reader thread."""
        self._wanted = (call, reason)
        if self._main.ident is not None:
            signal.pthread_kill(self._main.ident, SIGNAL)

    def run(self, call: int, work: Callable[[], T]) -> T:
        """`work`, for as long as nobody interrupts `call`. Raises Interrupted."""
        try:
            self._armed = call
            self._raise_if_wanted()
            return work()
        finally:
            self._armed = None

    def disarm(self) -> None:
        """What follows in this call is cancelled in another way."""
        self._armed = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._shields:
            self._raise_if_wanted()

    def _raise_if_wanted(self) -> None:
        wanted = self._wanted
        if wanted is not None and wanted[0] == self._armed:
            self._armed = None
            raise Interrupted(wanted[1])

    def _in_main(self) -> bool:
        return threading.current_thread() is self._main


class _Shield:
    """A context in which the main thread is not interrupted; what came meanwhile is raised at its end."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def __enter__(self) -> None:
        if self._interrupts._in_main():
            self._interrupts._shields += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._interrupts._in_main():
            self._interrupts._shields -= 1
            if not self._interrupts._shields and error is None:
                self._interrupts._raise_if_wanted()
