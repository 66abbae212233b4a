"""What signals ask of the keeper: their handlers note it, its `select` wakes up, and its loop does it."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket

STOPS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """TERM and INT: end. HUP: the code has changed. CHLD, and `wake` from another thread: look around. Made in the main thread."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._reader, self._writer = socket.socketpair()
        self._term_wanted = False
        self._new_code_wanted = False
        for each in (self._reader, self._writer):
            each.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in STOPS:
            signal.signal(number, self._want_term)
        signal.signal(signal.SIGHUP, self._want_new_code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        selector.register(self._reader, selectors.EVENT_READ, self._read)

    def wake(self) -> None:
        """The loop's `select` returns."""
        with contextlib.suppress(BlockingIOError):
            self._writer.send(b"w")

    def take_term_wanted(self) -> bool:
        """Has somebody asked for the end since the last look?"""
        wanted, self._term_wanted = self._term_wanted, False
        return wanted

    def take_new_code_wanted(self) -> bool:
        """Has the code changed since the last look?"""
        wanted, self._new_code_wanted = self._new_code_wanted, False
        return wanted

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def _want_term(self, *_: object) -> None:
        self._term_wanted = True

    def _want_new_code(self, *_: object) -> None:
        self._new_code_wanted = True
