"""Free ports of the loopback interface, for servers whose port must be known before they listen.

Nobody else is given one before its server listens, or while that is being started again: neither by Linux, nor by another process of tests,
nor by this one.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Mapping, Sequence

PORTS = range(10000, 32000)
"""Below those that Linux gives away."""
BLOCK = 50
EVERY = 10000
"""A process' ports repeat so: where it has one, it has the one so far above, too."""

_chance = random.SystemRandom()
"""Not the shared one: tests that run beside each other may have given that the same seed."""

_ahead: list[int] = []
"""Those that this process has not given yet since it gave all."""


def own(environment: Mapping[str, str]) -> list[int]:
    """Those of this process of tests, which no other of the same run has: block by block in turn."""
    index, count = environment.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"), environment.get("PYTEST_XDIST_WORKER_COUNT", "1")
    return [port for port in PORTS if port % EVERY // BLOCK % int(count) == int(index)]


def free_port(*also: int) -> int:
    """One that is free, and so are those that lie so far above it."""
    while True:
        if not _ahead:
            _ahead.extend(own(os.environ))
            _chance.shuffle(_ahead)
        port = _ahead.pop()
        above = [port + distance for distance in also]
        if set(above) <= set(_ahead) and _are_free([port, *above]):
            for number in above:
                _ahead.remove(number)
            return port


def _are_free(ports: Sequence[int]) -> bool:
    with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
        for port in ports:
            probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
        return True
    return False
