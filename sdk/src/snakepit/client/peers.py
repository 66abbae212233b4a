"""Links to every replica behind one address: which there are, which of them a call may go to, and what arrives on them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Hashable, Sequence, Set
from typing import Protocol

from snakepit import __version__
from snakepit._wire import Dialer, Link
from snakepit._wire.dial import Lanes, Replica
from snakepit._wire.forks import forked_from
from snakepit._wire.token import Token
from snakepit._wire.trust import Trust
from snakepit.client import local_errors
from snakepit.client.peer import Peer
from snakepit.client.renewals import Renewals
from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2

REFUSED_SECONDS = 0.5
"""A client that never had a link waits this long after a refused dial: another replica may still answer."""

REFUSED_BY_A_NETWORK_SECONDS = 5.0
"""The same in a pod: until NetworkPolicies know the address of one that has just begun, they refuse it."""

SWEEP_SECONDS = 0.25

POLL_SECONDS = 0.1
"""A caller that waits for a link looks this often whether dialling has failed for good."""

log = logging.getLogger(__name__)

_WAYS = {
    True: "frames take a lane, what is large or streams has bulk lanes",
    False: "its lane port can't be reached, so all takes gRPC: slower, and no payload is larger than maxPayloadBytes",
}


class Serves(Protocol):
    """Whoever runs what replicas call here."""

    def linked(self, peer: Peer) -> None: ...

    def unlinked(self, peer: Peer) -> None: ...

    def take(self, peer: Peer, kind: str | None, frame: link_pb2.Frame) -> bool:
        """False: the frame is for nobody here."""

    async def stop(self) -> None: ...


class Peers:
    """`token_file` is read again at every dial and request, because tokens rotate. `connect_seconds` bounds each wait for a link."""

    def __init__(
        self,
        target: str,
        *,
        token_file: str | os.PathLike[str] | None,
        connect_seconds: float,
        lanes: Lanes = Lanes.WANTED,
        trust: Trust | None = None,
    ) -> None:
        self.target = target
        self.token = Token(None if trust is not None and trust.shows_certificate else token_file)
        self.metadata = self.token.metadata
        self._renewals = Renewals(self.token)
        self._sweeping: asyncio.TimerHandle | None = None
        self.serves: Serves | None = None
        self.usable: list[Peer] = []
        """Those that calls may go to."""
        self.stopped = False
        self.dialer = Dialer(
            target,
            lambda _: link_pb2.Hello(role=link_pb2.ROLE_CLIENT, version=__version__),
            self._on_frames,
            self._on_open,
            self._on_close,
            metadata=self.metadata,
            lanes=lanes,
            trust=trust,
            expects=self._expects,
        )
        self._storeless: set[Peer] = set()
        """Those that say so: one may be cut off from the store alone, and know neither where sessions are nor which workers are lost."""
        self._connect_seconds = connect_seconds
        self._peers: dict[Link, Peer] = {}
        self._turn = 0
        self._opened = asyncio.Event()
        self._ever_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    def start(self) -> None:
        """Raises SnakepitError in a process that was forked while gRPC ran."""
        if parent := forked_from():
            raise local_errors.forked(parent)
        self._loop = asyncio.get_running_loop()
        self.dialer.start()

    @property
    def is_forked(self) -> bool:
        """Was it opened in another process, of which this one is a copy?"""
        return os.getpid() != self._pid

    def check_process(self) -> None:
        """Raises SnakepitError in a forked child."""
        if self.is_forked:
            raise local_errors.of_another_process(self._pid)

    def check_loop(self) -> float:
        """The loop's time. Raises SnakepitError in a forked child, and in another event loop than the one that it was opened in."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # As in a child that was forked inside a coroutine.
            self.check_process()
            raise
        if loop is not self._loop:
            self.check_process()
            raise local_errors.of_another_loop()
        return loop.time()

    async def stop(self) -> None:
        self.stopped = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self.serves is not None:
            await self.serves.stop()
        await self.dialer.stop()

    @property
    def all(self) -> list[Peer]:
        """Every open link, those to replicas that are about to stop included."""
        return list(self._peers.values())

    async def every_link(self, seconds: float) -> None:
        """Wait until each address that is known has been linked, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.dialer.all_linked:
                    self._opened.clear()
                    await self._opened.wait()

    async def peer(self) -> Peer:
        """An open link, in turn. Waits for one within the bounds; raises ServerUnavailable."""
        self.check_loop()
        return self.next() or await self.wait(None)

    def next(self, avoided: Set[Hashable] = frozenset()) -> Peer | None:
        """Round robin. One that has no store is better than none, so is one that does not answer now, or that is to be avoided."""
        usable = self.usable
        if self.dialer.any_suspect:
            usable = [each for each in usable if not each.replica.silence.is_suspect] or usable
        if self._storeless:
            usable = [each for each in usable if each not in self._storeless] or usable
        if avoided:
            usable = [each for each in usable if each not in avoided] or usable
        if not usable:
            return None
        self._turn = (self._turn + 1) % len(usable)
        return usable[self._turn]

    async def wait(self, deadline: float | None) -> Peer:
        now = asyncio.get_running_loop().time
        begin = now()
        end = begin + self._connect_seconds
        if deadline is not None:
            end = min(end, deadline)
        while True:
            self._opened.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(POLL_SECONDS, max(0.0, end - now()))):
                    await self._opened.wait()
            peer = self.next()
            if peer is not None:
                return peer
            error = self.dialer.last_error
            # A refusal of before says nothing: the server may have been started since.
            patience = REFUSED_BY_A_NETWORK_SECONDS if local_errors.may_be_the_network(error) else REFUSED_SECONDS
            refused = error is not None and not self._ever_open and min(self.dialer.failed_at, now() - patience) > begin
            if now() >= end or refused or self.stopped:
                raise self.no_server()

    def no_server(self) -> SnakepitError:
        """Why there is no link."""
        return local_errors.no_server(self.target, self.dialer.last_error, is_dialling=self.dialer.is_dialling)

    def sweep_soon(self) -> None:
        """A replica may say nothing of a deadline: one look at all calls now and then, instead of a timer for each."""
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        if [peer for peer in self.all if peer.expire(asyncio.get_running_loop().time())]:
            self.sweep_soon()

    def retire(self, peer: Peer) -> None:
        """Send nothing more there; what waits is still answered. Only where its link has closed, or is renewed: else nobody dials."""
        if peer in self.usable:
            self.usable.remove(peer)

    def _expects(self, replica: Replica) -> bool:
        peer = self._peers.get(replica.link)
        return peer is not None and bool(peer.waiting or replica.uses.any)

    def _on_open(self, replica: Replica) -> None:
        peer = Peer(replica)
        self._peers[replica.link] = peer
        self.usable.append(peer)
        if not self._ever_open:
            log.info("linked to the control plane: %s", _WAYS[replica.bulk is not None])
        self._ever_open = True
        self._opened.set()
        if self.serves is not None:
            self.serves.linked(peer)

    def _on_close(self, replica: Replica, reason: str) -> None:
        peer = self._peers.pop(replica.link)
        self._storeless.discard(peer)
        self._renewals.forget(peer)
        self.retire(peer)
        peer.give_up("the client was closed" if self.stopped else reason)
        if self.serves is not None:
            self.serves.unlinked(peer)

    def _on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        peer = self._peers[link]
        for frame in frames:
            kind = frame.WhichOneof("kind")
            if kind == "result":
                peer.answer(frame.result)
            elif kind == "go_away":
                self.retire(peer)
                if frame.go_away.HasField("last_call"):
                    peer.taken = frame.go_away.last_call
                self.dialer.renew(peer.replica)
            elif kind == "progress":
                peer.progress(frame.progress)
            elif kind == "replica_status":
                (self._storeless.add if frame.replica_status.store_unavailable else self._storeless.discard)(peer)
            elif kind == "credentials":
                self._renewals.taken(peer, frame.credentials.seconds)
            elif self.serves is None or not self.serves.take(peer, kind, frame):
                link.pass_over(frame)
