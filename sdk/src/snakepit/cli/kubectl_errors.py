"""What kubectl says on standard error: its end is kept for our own sentence; a login that waits for a person is shown to them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time

PATIENCE_SECONDS = 2.0
"""A kubectl that runs for longer may be asking for something."""

_KEPT_BYTES = 8192
_END_SECONDS = 2.0


class Errors:
    """Of one process, from its start to its end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._stream = process.stderr
        self._kept = b""
        self._unshown = b""
        self._hushed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="kubectl's errors", daemon=True)
        self._thread.start()

    def hush(self) -> None:
        """It asks for nothing any more."""
        self._hushed.set()

    def last(self) -> str:
        """The last line of a process that has ended, without kubectl's own `error:` before it."""
        self._thread.join(_END_SECONDS)
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ").removeprefix("Error from server ") if lines else ""

    def _read(self) -> None:
        with self._stream:
            self._copy(self._stream.fileno())

    def _copy(self, descriptor: int) -> None:
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while True:
            wait = max(0.0, patient_until - time.monotonic())
            ready, _, _ = select.select([descriptor], [], [], wait if wait else None)
            if ready:
                data = os.read(descriptor, 4096)
                if not data:
                    return
                self._kept = (self._kept + data)[-_KEPT_BYTES:]
                self._unshown = (self._unshown + data)[-_KEPT_BYTES:]
            if time.monotonic() >= patient_until and not self._hushed.is_set():
                sys.stderr.write(self._unshown.decode(errors="replace"))
                sys.stderr.flush()
                self._unshown = b""
