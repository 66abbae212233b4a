"""Free ports of the loopback interface, for servers whose port must be known before they listen.

Nobody else is given one before its server listens, or while that is being started again: neither by Linux, nor by another process of tests,
nor by this one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

PORTS = range(10000, 32000)
"""Below those that Linux gives away."""

_chance = random.SystemRandom()
"""Not the shared one: tests that run beside each other may have given that the same seed."""

_given: set[int] = set()

_claims = os.open(Path(tempfile.gettempdir()) / f"snakepit-ports-of-tests-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
"""Of all processes of tests on this machine: whoever has given a port holds a lock of the byte of that number, for as long as it lives."""


def free_port(*also: int) -> int:
    """One that is free, and so are those that lie so far above it."""
    while True:
        port = _chance.choice(PORTS)
        ports = [port, *(port + distance for distance in also)]
        if all(each in PORTS and each not in _given for each in ports) and _are_ours(ports) and _are_free(ports):
            _given.update(ports)
            return port


def _are_ours(ports: Sequence[int]) -> bool:
    """A lock that this process has already is no obstacle to it."""
    with contextlib.suppress(OSError):
        for port in ports:
            fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        return True
    return False


def _are_free(ports: Sequence[int]) -> bool:
    with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
        for port in ports:
            probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
        return True
    return False
