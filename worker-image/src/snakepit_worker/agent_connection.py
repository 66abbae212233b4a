"""The keeper's connection to the agent."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
from collections import deque
from importlib.metadata import version
from pathlib import Path

from snakepit._ipc.control import PROTOCOL, FromKeeper, KeeperHello, send_control
from snakepit_worker import container


class AgentConnection:
    """Frames leave in order, and what doesn't fit now leaves later."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.welcomed = False
        self._out: deque[tuple[FromKeeper, list[socket.socket]]] = deque()

    def greet(self, ring: int) -> None:
        """Say who is there, with the file that counts out-of-memory kills, and the ring of log lines. A connection that breaks at once is
        found by reading."""
        memory = container.out_of_memory_file() or Path(os.devnull)
        hello = KeeperHello(PROTOCOL, os.getpid(), version("snakepit-worker"), platform.python_version(), container.cpus())
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            counts = stack.enter_context(memory.open("rb", buffering=0)).fileno()
            send_control(self.socket, hello, [counts, ring], socket.MSG_DONTWAIT)

    def send(self, frame: FromKeeper, passed: list[socket.socket] | None = None) -> None:
        """The sockets in `passed` are the agent's from now on."""
        self._out.append((frame, passed or []))
        self.flush()

    def flush(self) -> None:
        """A broken connection is found by reading; until then nothing is lost that anybody could still get."""
        with contextlib.suppress(OSError):
            while self._out:
                frame, passed = self._out[0]
                send_control(self.socket, frame, [each.fileno() for each in passed], socket.MSG_DONTWAIT)
                self._out.popleft()
                close_sockets(passed)

    @property
    def behind(self) -> bool:
        """Something waits for room."""
        return bool(self._out)

    def close(self) -> None:
        """Forget what has not left."""
        while self._out:
            close_sockets(self._out.popleft()[1])
        self.socket.close()


def close_sockets(sockets: list[socket.socket]) -> None:
    """Close what nobody wants."""
    for each in sockets:
        each.close()
