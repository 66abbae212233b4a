"""An adapter that makes shared memory and leaves it, as one does who is killed. The module that makes it is imported by the first call."""

from __future__ import annotations

import os
import signal
from typing import Any

from snakepit import Adapter, tool

KEPT: list[Any] = []


class Sharing(Adapter):
    """Segments stay mapped for as long as the process is there."""

    @tool
    def share(self, name: str | None = None) -> str:
        """Make a segment; its name."""
        from multiprocessing.shared_memory import SharedMemory

        KEPT.append(SharedMemory(name, create=True, size=4096))
        return str(KEPT[-1].name)

    @tool
    def share_by_a_child(self) -> str:
        """The same, in a child that the tool forks."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, self.share().encode())
            signal.pause()
        return os.read(reader, 100).decode()
