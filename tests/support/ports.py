"""Free ports of the loopback interface, for servers whose port must be known before they listen."""

from __future__ import annotations

import contextlib
import random
import socket

PORTS = range(10000, 32000)
"""Below those that Linux gives away: nobody takes one before its server listens, or while that is being started again."""

_chance = random.SystemRandom()
"""Not the shared one: tests that run beside each other may have given that the same seed."""


def free_port(*also: int) -> int:
    """One that is free, and so are those that lie so far above it."""
    while True:
        port = _chance.choice(PORTS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for number in (port, *(port + distance for distance in also)):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port
