"""The links to every control-plane replica: who is linked, what each was told, frames to and from them. It decides nothing about calls.

A replica is known by the id of its Welcome. What belongs to one whose link broke is kept for FORGET_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from snakepit._wire import Dialer, Link, LinkClosed
from snakepit._wire.channels import FORGET_SECONDS, MAX_LARGE_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES
from snakepit._wire.dial import Lanes, Replica
from snakepit._wire.token import Token
from snakepit._wire.trust import Trust
from snakepit.errors import StaleEpoch
from snakepit.v1 import link_pb2
from snakepit_agent.link.resend import ResendBuffer

log = logging.getLogger(__name__)

Handler = Callable[[str, Any], None]


class ReplicaEvents(Protocol):
    """What the owner wants to hear."""

    def replica_linked(self, replica: str) -> None: ...
    def replica_unlinked(self, replica: str) -> None: ...
    def replica_forgotten(self, replica: str) -> None: ...
    def running_ids(self, replica: str) -> Iterable[int]: ...

    @property
    def is_busy(self) -> bool:
        """Does the capsule hold any call?"""
        ...


@dataclass
class _Known:
    """A replica that is linked, or was a moment ago."""

    id: str
    address: str
    replica: Replica | None = None
    since: float = 0.0
    outcomes: ResendBuffer = field(default_factory=ResendBuffer)


class Uplink:
    """Dials `target` from `start` to `stop`."""

    def __init__(
        self,
        target: str,
        capsule: Callable[[], link_pb2.Capsule],
        version: str,
        events: ReplicaEvents,
        token: Token,
        trust: Trust,
    ) -> None:
        self._capsule = capsule
        self._version = version
        self._handlers: Mapping[str, Handler] = {}
        self._events = events
        self._known: dict[str, _Known] = {}
        self._by_link: dict[Link, _Known] = {}
        self.linked: list[str] = []
        """Ids of the replicas whose link is open; a new list with each change."""
        self._closed = asyncio.Event()
        self._dialer = Dialer(
            target,
            self._hello,
            self._on_frames,
            self._on_open,
            self._on_close,
            metadata=token.metadata,
            trust=trust,
            lanes=Lanes.NEEDED,
            expects=lambda _: events.is_busy,
        )

    def start(self, handlers: Mapping[str, Handler]) -> None:
        """`handlers`: by kind of frame, called with the replica's id and the message."""
        self._handlers = handlers
        self._dialer.start()

    async def stop(self) -> None:
        await self._dialer.stop()

    async def hang_up(self) -> None:
        """Close every link when what is queued has been written. Without a bound of its own; follow it with `stop`."""
        await asyncio.sleep(0)  # What this turn of the loop has yet to say.
        for known in self._known.values():
            if known.replica is not None:
                known.replica.link.close("the agent ends")
        while self.linked:
            self._closed.clear()
            await self._closed.wait()

    def _count_linked(self) -> None:
        self.linked = [known.id for known in self._known.values() if known.replica is not None]

    def replica(self, id_: str) -> Replica | None:
        """The open link, for a bulk lane beside it."""
        known = self._known.get(id_)
        return known.replica if known else None

    def inline_limit(self, id_: str) -> int:
        """The largest payload within a frame to that replica, in bytes (its maxPayloadBytes)."""
        replica = self.replica(id_)
        return replica.max_payload_bytes if replica else MAX_PAYLOAD_BYTES

    def limit(self, id_: str) -> tuple[int, str]:
        """The largest result that the replica takes, in bytes, and the limit's name."""
        known = self._known.get(id_)
        replica = known.replica if known is not None else None
        return replica.max_large_payload_bytes if replica is not None else MAX_LARGE_PAYLOAD_BYTES, "maxLargePayloadBytes"

    def largest_limit(self) -> tuple[int, str]:
        """Of all linked replicas: what a worker need not even encode, none of them would take."""
        return max(map(self.limit, self.linked), default=(MAX_LARGE_PAYLOAD_BYTES, "maxLargePayloadBytes"))

    def send(self, id_: str, frame: link_pb2.Frame) -> bool:
        """Queue a frame; False when there is no link to that replica."""
        known = self._known.get(id_)
        return known is not None and self._send(known, frame.SerializeToString())

    @staticmethod
    def _send(known: _Known, data: bytes) -> bool:
        if known.replica is None:
            return False
        try:
            known.replica.link.send_bytes(data)
        except LinkClosed:
            return False
        return True

    def broadcast(self, frame: link_pb2.Frame) -> None:
        """To every linked replica."""
        for id_ in self.linked:
            self.send(id_, frame)

    def send_result(self, id_: str, frame: link_pb2.Frame, now: float) -> None:
        """A result is told again when the link breaks and comes back."""
        known = self._known.get(id_)
        if known is None:
            told = "the result of call %s is dropped: its replica %s is gone"
            log.warning(told, frame.result.call_id, id_, extra={"call": frame.result.call_id})
            return
        self._send(known, known.outcomes.remember(frame, now))

    @property
    def is_fenced(self) -> bool:
        """Has a replica refused this capsule's incarnation, because it was declared lost?"""
        return isinstance(self._dialer.last_error, StaleEpoch)

    def start_over(self) -> None:
        """Forget every replica and what it was told, and link anew."""
        self._dialer.last_error = None
        for known in list(self._known.values()):
            if known.replica is not None:
                known.replica.link.close("the capsule begins anew")
            del self._known[known.id]
        self._count_linked()

    def tick(self, now: float) -> None:
        """Forget what is out of date."""
        for known in list(self._known.values()):
            if known.replica is not None:
                known.outcomes.expire(now)
            elif now - known.since > FORGET_SECONDS:
                self._forget(known)

    def _hello(self, address: str) -> link_pb2.Hello:
        running: set[int] = set()
        for known in self._known.values():
            if known.address == address:
                running.update(self._events.running_ids(known.id), known.outcomes.ids())
        return link_pb2.Hello(
            role=link_pb2.ROLE_AGENT,
            version=self._version,
            capsule=self._capsule(),
            running=sorted(running),
        )

    def _on_open(self, replica: Replica) -> None:
        for other in [k for k in self._known.values() if k.address == replica.address and k.id != replica.id and k.replica is None]:
            self._forget(other)
        known = self._known.setdefault(replica.id, _Known(replica.id, replica.address))
        known.replica, known.address = replica, replica.address
        self._count_linked()
        self._by_link[replica.link] = known
        log.info("linked to control-plane replica %s at %s", replica.id, replica.address)
        self._events.replica_linked(replica.id)
        for frame in known.outcomes.take():
            self.send_result(known.id, frame, time.monotonic())

    def _on_close(self, replica: Replica, reason: str) -> None:
        self._closed.set()
        known = self._by_link.pop(replica.link)
        if known.replica is not replica:
            return
        known.replica, known.since = None, time.monotonic()
        self._count_linked()
        log.warning("the link to control-plane replica %s at %s closed: %s", replica.id, replica.address, reason)
        if self._known.get(known.id) is known:
            self._events.replica_unlinked(replica.id)

    def _forget(self, known: _Known) -> None:
        del self._known[known.id]
        self._events.replica_forgotten(known.id)

    def _on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        known = self._by_link[link]
        if self._known.get(known.id) is not known:
            return  # Forgotten, and about to close.
        for frame in frames:
            kind = frame.WhichOneof("kind")
            handler = self._handlers.get(kind) if kind else None
            if handler is None:
                link.pass_over(frame)
            else:
                handler(known.id, getattr(frame, kind))
