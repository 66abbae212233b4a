"""Connections of whoever has shown no token yet: they may have half of a replica's, so that others find one.

gRPC hangs up on each connection beyond maxConnections, a newcomer's too, and says nothing of those that are there. But they are sockets of
this process. Where the system has no /proc, nothing is done here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

LOOK_SECONDS = 0.25
SHORTEST_SECONDS, REST = 0.02, 4
"""While somebody is hung up on, the next look comes sooner: after a rest that is so many times as long as the look."""

STRANGERS, LEAST = 0.5, 16
"""Their share of maxConnections, and so many at least."""

SAY_SECONDS = 60.0

DESCRIPTORS = "/proc/self/fd"
CAN_LOOK = Path(DESCRIPTORS).is_dir()

log = logging.getLogger(__name__)


class Connections:
    """`most`: the limit maxConnections; `ports`: those that gRPC listens on."""

    def __init__(self, most: int, ports: Callable[[], Collection[int]]) -> None:
        self._most, self._ports = most, ports
        self._known = dict[str, None]()
        # Of the others: when each was seen first, by the number of the look, and its address.
        self._strangers: dict[str, str] = {}
        self._said = -SAY_SECONDS

    def shows(self, peer: str) -> None:
        """Who has that connection has shown a token that is good, or is asked for none. `peer`: as gRPC names it."""
        if peer not in self._known:
            self._known[peer] = None
            if len(self._known) > 2 * self._most:
                self._known.pop(next(iter(self._known)))

    async def run(self) -> None:
        """Look for ever."""
        pause = LOOK_SECONDS
        while CAN_LOOK:
            await asyncio.sleep(pause)
            began, pause = time.monotonic(), LOOK_SECONDS
            if gone := await asyncio.to_thread(self._look):
                self._say(gone)
                pause = min(LOOK_SECONDS, max(SHORTEST_SECONDS, REST * (time.monotonic() - began)))
        await asyncio.Event().wait()

    def _look(self) -> int:
        """On a thread: to look at ten thousand takes 50 ms."""
        most = max(LEAST, int(self._most * STRANGERS))
        if len(_descriptors()) <= most:
            return 0
        there = dict(_connections(self._ports()))
        for peer in [each for each in list(self._known) if each not in there]:
            self._known.pop(peer, None)
        strange = {peer: peer.rpartition(":")[0] for peer in there if peer not in self._known}
        self._strangers = {peer: address for peer, address in self._strangers.items() if peer in strange} | strange
        return sum(_hang_up(there[peer], peer) for peer in too_many(self._strangers, most))

    def _say(self, gone: int) -> None:
        if (now := time.monotonic()) - self._said >= SAY_SECONDS:
            self._said = now
            half = f"{STRANGERS:.0%} of maxConnections, {self._most}"
            log.warning("%d connections that have shown no token are hung up: such may be %s. It is said once a minute", gone, half)


def too_many(strangers: Mapping[str, str], most: int) -> list[str]:
    """Whom to hang up on so that `most` are left: the oldest of the addresses that have most. `strangers`: the address of each, the oldest
    first."""
    counts = Counter(strangers.values())
    if len(strangers) <= most:
        return []
    each = _share(list(counts.values()), most)
    beyond, gone = {address: count - each for address, count in counts.items()}, []
    for peer, address in strangers.items():
        if beyond[address] > 0:
            beyond[address] -= 1
            gone.append(peer)
    return gone


def _share(counts: Sequence[int], most: int) -> int:
    """So many each may have, if all may have `most`: what one doesn't need is others'."""
    left, rest = most, len(counts)
    for count in sorted(counts):
        if count > left // rest:
            return left // rest
        left, rest = left - count, rest - 1
    return max(counts)


def _descriptors() -> list[int]:
    return list(map(int, os.listdir(DESCRIPTORS)))  # noqa: PTH208  # a Path of each takes ten times as long


def _connections(ports: Collection[int]) -> Iterator[tuple[str, int]]:
    """Those that somebody else has made to one of the ports: whose, as gRPC names it, and the descriptor."""
    for number in _descriptors():
        with contextlib.suppress(OSError):  # It has been closed meanwhile.
            if stat.S_ISSOCK(os.fstat(number).st_mode) and (peer := _peer(number, ports)):
                yield peer, number


def _peer(number: int, ports: Collection[int]) -> str:
    """Empty: it is no connection to one of the ports. Raises OSError."""
    seen = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=number)
    try:
        here = seen.getsockname()
        return _named(*seen.getpeername()[:2]) if isinstance(here, tuple) and here[1] in ports else ""
    finally:
        seen.detach()


def _named(host: str, port: int) -> str:
    host = host.removeprefix("::ffff:")
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"


def _hang_up(number: int, peer: str) -> bool:
    """False: it has gone meanwhile, and the descriptor may be another one's."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as its:
        if _named(*its.getpeername()[:2]) == peer:
            its.shutdown(socket.SHUT_RDWR)
            return True
    return False
