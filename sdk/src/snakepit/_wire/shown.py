"""What a server shows of itself, out of files that are read again as they change, for new connections. Running ones go on."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

LOOK_SECONDS = 1.0
"""The files are looked at when somebody connects, and not more often than this."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Shown(Generic[T]):
    """What `read` makes of the files, of which the first is the certificate. It raises ValueError, with a sentence, where they can't be
    used, and so does the constructor. Later the last good ones stay. Any thread may ask."""

    def __init__(self, files: Sequence[Path], read: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._files, self._read, self._clock = files, read, clock
        self._lock = threading.Lock()
        self._looked = clock()
        self._state = self._there()
        self._problem = ""
        self._current = read()

    def now(self) -> T:
        """For a connection that begins now. The same object, until there is another."""
        with self._lock:
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._looked = self._clock()
                self._look()
            return self._current

    def _look(self) -> None:
        try:
            if (state := self._there()) == self._state:
                return
            self._current = self._read()
        except ValueError as error:  # Also while files are being replaced: key and certificate are no pair then.
            if str(error) != self._problem:
                log.warning("the certificate stays the one that it was: %s", error)
            self._problem = str(error)
            return
        self._state, self._problem = state, ""
        log.info("the certificate in %s was read again", self._files[0])

    def _there(self) -> list[tuple[int, int]]:
        """Which files are there. Raises ValueError."""
        try:
            return [(status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in self._files)]
        except OSError as error:
            raise ValueError(f"{error.filename}, which TLS needs, can't be read: {error.strerror}") from None


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Of a server with these two, PEM. Raises OSError; an SSLError is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0  # For sessions that nobody resumes.
    context.load_cert_chain(certificate, key)
    return context


def unusable(error: OSError, files: Sequence[Path]) -> ValueError:
    """The sentence for what was raised while they were read."""
    if isinstance(error, ssl.SSLError):
        return ValueError(f"one of {', '.join(map(str, files))} can't be used, or key and certificate are no pair: {error.reason or error}")
    return ValueError(f"{error.filename or files[0]}, which TLS needs, can't be read: {error.strerror}")
