"""Connections: who may have how many of a replica's, so that newcomers find one. Half is one subject's (or one address's, where nobody is
asked for a token), and half of what others leave is that of all who have shown no token yet. Agents' and the operator's have no bound where
they prove who they are; else one address may have a quarter for such.

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
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from snakepit._values.strings import quoted
from snakepit_control_plane.policy.crowds import AGENTS_SHARE, SHARE, beyond, share_of, too_many

LOOK_SECONDS, REST = (0.25, 1.0), 20
"""Between two looks, at least and at most, and so many times as long as the look took."""

BUSY_SECONDS, BUSY_REST = (0.02, 0.25), 4
"""The same while somebody is hung up on."""

SAY_SECONDS = 60.0


class Shown(Protocol):
    """See `Connections.shows`."""

    def __call__(self, peer: str, subject: str | None, *, link: bool = False) -> None: ...


def nobody_counts(peer: str, subject: str | None, *, link: bool = False) -> None:
    """In the place of a Shown."""


AGENTS = "agents at "
"""Before the address of those that nobody asks for a proof."""

DESCRIPTORS = "/proc/self/fd"
CAN_LOOK = Path(DESCRIPTORS).is_dir()

log = logging.getLogger(__name__)


class Connections:
    """`most`: the limit maxConnections; `ports`: those that gRPC listens on; `proven`: agents and the operator prove who they are."""

    def __init__(self, most: int, ports: Callable[[], Collection[int]], *, proven: bool) -> None:
        self._most, self._ports, self._proven = most, ports, proven
        # Whose each is, as it was shown last, the oldest first.
        self._known = dict[str, str]()
        # Those of them that have a link.
        self._linked = set[str]()
        # Of the others: its address, in the order in which they were seen first.
        self._strangers: dict[str, str] = {}
        self._said: dict[str, float] = {}

    def shows(self, peer: str, subject: str | None, *, link: bool = False) -> None:
        """Who has that connection has shown a good token of that subject, or is asked for none (empty). None: it is an agent's or the
        operator's, and counts for nobody where they prove it. `peer`: as gRPC names it. `link`: for a link, whose calls nobody else's
        requests beside it may have hung up on."""
        if not CAN_LOOK:
            return  # Nobody would ever forget it.
        owner = self._owner(peer, subject)
        if link:
            self._linked.add(peer)
        if self._known.get(peer) != owner and (link or peer not in self._linked):
            self._known.pop(peer, None)  # Whose it is now, for it is a new one: a gateway's own are others' in turns.
            self._known[peer] = owner

    def _owner(self, peer: str, subject: str | None) -> str:
        if subject is None:
            return "" if self._proven else AGENTS + _address(peer)
        return subject or _address(peer)

    async def run(self) -> None:
        """Look for ever."""
        pause = LOOK_SECONDS[0]
        while CAN_LOOK:
            await asyncio.sleep(pause)
            began = time.monotonic()
            gone = await self._gone()
            now = time.monotonic()
            self._say(gone, now)
            (least, most), rest = (BUSY_SECONDS, BUSY_REST) if gone else (LOOK_SECONDS, REST)
            pause = min(most, max(least, rest * (now - began)))
        await asyncio.Event().wait()

    async def _gone(self) -> Counter[str]:
        try:
            return await asyncio.to_thread(self._look)
        except OSError as error:
            log.warning("whose connections there are can't be looked at, nobody is hung up on: %s", error)  # Of too many open files, say.
            return Counter()

    def _look(self) -> Counter[str]:
        """How many of each owner's are hung up; of nobody's: those that have shown no token. On a thread: to look at ten thousand takes
        50 ms."""
        if len(_descriptors()) <= share_of(self._most) and len(self._known) <= self._most:
            return Counter()
        before, there = list(self._known), dict(_connections(self._ports()))
        for peer in before:  # One that has come since isn't looked at.
            if peer not in there:
                self._known.pop(peer, None)
                self._linked.discard(peer)
        known = {peer: owner for peer, owner in dict(self._known).items() if peer in there}
        strange = {peer: _address(peer) for peer in there if peer not in known}
        self._strangers = {peer: address for peer, address in self._strangers.items() if peer in strange} | strange
        gone = [*too_many(self._strangers, share_of(self._most - len(known))), *self._beyond(known)]
        still = (peer for peer in gone if self._known.get(peer) == known.get(peer))  # Whoever has shown one meanwhile is left alone.
        return Counter(known.get(peer, "") for peer in still if _hang_up(there[peer], peer, self._ports()))

    def _is_unproven(self, owner: str) -> bool:
        """Those that say they are an agent's. Where that is proven, a subject may be called so."""
        return not self._proven and owner.startswith(AGENTS)

    def _beyond(self, known: Mapping[str, str]) -> list[str]:
        agents = {peer: owner for peer, owner in known.items() if self._is_unproven(owner)}
        others = {peer: owner for peer, owner in known.items() if peer not in agents}
        return [*beyond(others, share_of(self._most)), *beyond(agents, share_of(self._most, AGENTS_SHARE))]

    def _say(self, gone: Mapping[str, int], now: float) -> None:
        self._said = {owner: at for owner, at in self._said.items() if now - at < SAY_SECONDS}
        for owner in gone.keys() - self._said:
            self._said[owner] = now
            whose = f"of {quoted(owner)}" if owner else "that have shown no token"
            share = AGENTS_SHARE if self._is_unproven(owner) else SHARE
            most = f"{share:.0%} of {'maxConnections' if owner else 'what others leave of maxConnections'}, {self._most}"
            log.warning("%d connections %s are hung up: such may be %s. It is said once a minute", gone[owner], whose, most)


def _descriptors() -> list[int]:
    return list(map(int, os.listdir(DESCRIPTORS)))  # noqa: PTH208  # a Path of each takes ten times as long


def _connections(ports: Collection[int]) -> Iterator[tuple[str, int]]:
    """Those that somebody else has made to one of the ports: whose, as gRPC names it, and the descriptor."""
    for number in _descriptors():
        with contextlib.suppress(OSError):  # It has been closed meanwhile.
            if stat.S_ISSOCK(os.fstat(number).st_mode) and (peer := _peer(number, ports)):
                yield peer, number


def _peer(number: int, ports: Collection[int], *, hang_up: str = "") -> str:
    """Whose it is; empty: it is no connection to one of the ports. `hang_up`: if it is that one's. Raises OSError."""
    seen = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=number)
    try:
        here = seen.getsockname()
        if not (isinstance(here, tuple) and isinstance(here[0], str) and here[1] in ports):  # Other families' are bytes, or numbers.
            return ""
        peer = _named(*seen.getpeername())
        if peer == hang_up:
            seen.shutdown(socket.SHUT_RDWR)
        return peer
    finally:
        seen.detach()


def _address(peer: str) -> str:
    return peer.rpartition(":")[0]


def _named(host: str, port: int, _flow: int = 0, scope: int = 0) -> str:
    host = host.removeprefix("::ffff:")
    if ":" not in host:
        return f"ipv4:{host}:{port}"
    return f"ipv6:%5B{host}{f'%25{scope}' if scope else ''}%5D:{port}"


def _hang_up(number: int, peer: str, ports: Collection[int]) -> bool:
    """False: it has gone meanwhile, and the descriptor may be another one's."""
    with contextlib.suppress(OSError):
        held = os.dup(number)
        try:
            return _peer(held, ports, hang_up=peer) == peer
        finally:
            os.close(held)
    return False
