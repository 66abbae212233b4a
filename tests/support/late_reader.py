"""A worker whose reader thread is slow: it comes back from the order to stop when its channel is closed already."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

from snakepit import Adapter, tool
from snakepit._ipc.worker import Stop, ToWorker
from snakepit_worker.channel import Channel

WAIT_SECONDS = 20
_closed = threading.Event()
_read = Channel.read


def _read_late(channel: Channel, take: Callable[[ToWorker], None]) -> None:
    def late(frame: ToWorker) -> None:
        take(frame)
        if isinstance(frame, Stop):
            _closed.wait(WAIT_SECONDS)

    _read(channel, late)


Channel.read = _read_late  # type: ignore[method-assign]


class Late(Adapter):
    def setup(self) -> None:
        atexit.register(self._let_it_read)

    def _let_it_read(self) -> None:
        """The channel is closed, and the process is there until the reader has done whatever it does."""
        (reader,) = (each for each in threading.enumerate() if each.name == "snakepit-outbox")
        _closed.set()
        reader.join(WAIT_SECONDS)

    @tool
    def never(self) -> None:
        """It is only started and stopped."""
