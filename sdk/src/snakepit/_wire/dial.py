"""Keeps one link open to every replica behind an address: resolves the name again, dials again with jittered backoff.

Used by agents and by client SDKs. It knows nothing about calls: it hands each open link to its owner and says when one has closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit._retry import Backoff
from snakepit._wire.bulk_calls import BulkLanes
from snakepit._wire.connect import dial
from snakepit._wire.lane import Lane
from snakepit._wire.link import Link, LinkClosed, OnFrames
from snakepit._wire.protocol import NEWEST, OLDEST, agreed, said
from snakepit._wire.silence import LOOK_SECONDS, Sign, Silence
from snakepit._wire.status import Metadata, from_cancelled, from_rpc_error
from snakepit._wire.stream_lane import StreamLane
from snakepit._wire.targets import parse_target, parse_targets, resolve
from snakepit._wire.trust import OFF, Trust
from snakepit.errors import ProtocolMismatch, ServerUnavailable, SnakepitError
from snakepit.v1 import link_pb2, link_pb2_grpc

RESOLVE_SECONDS = 5.0
"""The name is looked up again this often; once a second while no link is open."""

BACKOFF_SECONDS = Backoff(0.05, 3.0)
"""First and longest pause before a replica is dialled again; doubling, with full jitter."""

WELCOME_SECONDS = 5.0

_PING = link_pb2.Frame(ping=link_pb2.Ping())

log = logging.getLogger(__name__)


class Lanes(enum.Enum):
    """What a dialler makes of the lane port."""

    WANTED = "where it can't be reached, frames take the stream"
    OFF = "it is not tried: it can't be reached"
    NEEDED = "where it can't be reached, there is no link"


LANE_SECONDS = {Lanes.WANTED: 0.5, Lanes.NEEDED: 5.0}
"""A lane that takes longer to open is none."""


class Uses:
    """How many RPCs and streams beside a link are not over."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def begin(self) -> None:
        self._count += 1
        self._none.clear()

    def end(self) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    @property
    def any(self) -> bool:
        return self._count > 0

    async def over(self) -> None:
        """Wait until all of them are. Each has its deadline, and ends when its connection breaks."""
        await self._none.wait()


@dataclass(frozen=True)
class Replica:
    """An open link, and what its other end said of itself. `channel` is for RPCs beside the link; `bulk`: its bulk lanes, if it has a lane.
    `attempt`: the number of the dial that led here. `opened`: when, by the event loop's clock. `uses`: what has to be over before link and
    channel are closed, where the replica stops as it should. `silence`: does it answer?"""

    link: Link
    channel: grpc.aio.Channel
    address: str
    id: str
    max_payload_bytes: int
    max_large_payload_bytes: int
    bulk: BulkLanes | None = None
    attempt: int = 0
    opened: float = 0.0
    uses: Uses = field(default_factory=Uses)
    silence: Silence = field(default_factory=Silence)


def next_attempt(attempt: int, open_seconds: float) -> int:
    """The number of the next dial. Only a link that lasted lets it begin anew: one that is hung up on at once is no success."""
    return 0 if open_seconds >= BACKOFF_SECONDS[1] else attempt + 1


class Dialer:
    """Dials every replica of `target` and keeps dialling.

    `hello` makes the first frame of each link (it may differ per dial: running calls), without the protocols, which are added here.
    `on_open` gets the replica before any other frame of it; `on_close` is called exactly once for each replica that was opened, with
    the reason. `metadata` is asked at every dial, because tokens rotate. `expects`: does anybody wait for that replica? While so, or
    while anything is sent to any replica, one that falls silent becomes suspect within 2 s, and its link closes within 5 s, if another
    one speaks (see `silence`). `lanes`: the frames of each link take one; OFF: never, NEEDED: a link without one is no link. `trust`: is
    it TLS, and whose; None: it isn't.
    """

    def __init__(
        self,
        target: str,
        hello: Callable[[str], link_pb2.Hello],
        on_frames: OnFrames,
        on_open: Callable[[Replica], None],
        on_close: Callable[[Replica, str], None],
        *,
        metadata: Callable[[], Metadata] = lambda: (),
        lanes: Lanes = Lanes.WANTED,
        expects: Callable[[Replica], bool] = lambda _: False,
        trust: Trust | None = None,
    ) -> None:
        parse_targets(target)
        self.target = target
        self.replicas: dict[str, Replica] = {}
        self.last_error: SnakepitError | None = None
        self.failed_at = 0.0
        """When it came, by the event loop's clock."""
        self._hello = hello
        self._on_frames = on_frames
        self._on_open = on_open
        self._on_close = on_close
        self._metadata = metadata
        self._lanes = lanes
        self._trust = trust or Trust(OFF)
        self._names: dict[str, str] = {}
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._resolver: asyncio.Task[None] | None = None
        self._again = asyncio.Event()
        self._expects = expects
        self.any_suspect = False
        """Is there a replica that does not answer, though somebody waits for it?"""
        self._linked: list[Replica] = []
        self._look: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._resolver = asyncio.create_task(self._resolve_forever(), name=f"resolve {self.target}")

    async def stop(self) -> None:
        """Close every link and wait until their tasks have ended."""
        self.replicas.clear()  # Or one that says only now that it goes would be dialled anew.
        tasks = [*self._dialling.values(), *self._retiring, *([self._resolver] if self._resolver else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._look is not None:
            self._look.cancel()
            self._look = None

    @property
    def is_dialling(self) -> bool:
        """Is any address known?"""
        return bool(self._dialling)

    @property
    def all_linked(self) -> bool:
        """Is there an open link to each address that the name has?"""
        return bool(self._dialling) and self._dialling.keys() <= self.replicas.keys()

    def renew(self, replica: Replica) -> None:
        """The replica is about to stop (GoAway): dial its address anew at once, as another replica may answer there; after a pause, where
        the link had only just been opened, or whoever sends everybody away would be dialled without end.

        The old link stays until it ends by itself, and its channel until nothing beside the link needs it: what a replica has said before
        it stopped may still be on its way to a slow reader.
        """
        if self.replicas.get(replica.address) is not replica:
            return
        del self.replicas[replica.address]
        old = self._dialling[replica.address]
        self._retiring.add(old)
        old.add_done_callback(self._retiring.discard)
        self._start_dialling(replica.address, next_attempt(replica.attempt, _now() - replica.opened))

    def _start_dialling(self, address: str, attempt: int = 0) -> None:
        dialling = self._dial_forever(address, self._names[address], attempt)
        self._dialling[address] = asyncio.create_task(dialling, name=f"dial {address}")

    async def _resolve_forever(self) -> None:
        while True:
            wanted = await resolve(self.target)
            self._names |= wanted
            for address in sorted(wanted.keys() - self._dialling.keys()):
                self._start_dialling(address)
            for address in sorted(self._dialling.keys() - wanted.keys()):
                # A name that can't be looked up says nothing about the links that are open.
                if wanted and address not in self.replicas:
                    self._dialling.pop(address).cancel()
            self._names = {address: name for address, name in self._names.items() if address in self._dialling}
            self._again.clear()
            # Not wait_for: before Python 3.12 it can swallow a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESOLVE_SECONDS if self.replicas else 1.0):
                    await self._again.wait()

    async def _dial_forever(self, address: str, host: str, attempt: int) -> None:
        if attempt:
            await asyncio.sleep(BACKOFF_SECONDS.jittered(attempt, random.random))
        while asyncio.current_task() not in self._retiring:
            attempt = next_attempt(attempt, await self._try(address, host, attempt))
            self._again.set()
            await asyncio.sleep(BACKOFF_SECONDS.jittered(attempt + 1, random.random))

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(LOOK_SECONDS, self._look_at_all, loop) if self._linked else None

    def _look_at_all(self, loop: asyncio.AbstractEventLoop) -> None:
        """Who is silent?"""
        active = any(replica.link.said for replica in self._linked)
        gone = [replica for replica in self._linked if self._is_gone(replica, loop.time(), active=active)]
        self.any_suspect = any(replica.silence.is_suspect for replica in self._linked)
        if any(not replica.silence.is_suspect for replica in self._linked):  # Else it is rather we who hear nobody.
            for replica in gone:
                replica.link.give_up("it does not answer, and said nothing for 5 s")
        self._look_again()

    def _is_gone(self, replica: Replica, now: float, *, active: bool) -> bool:
        link, was_suspect = replica.link, replica.silence.is_suspect
        sign = replica.silence.look(now, heard=link.heard, expecting=active or self._expects(replica))
        if sign is Sign.ASK:
            with contextlib.suppress(LinkClosed):
                link.send(_PING)
        link.heard = link.said = False
        if replica.silence.is_suspect and not was_suspect:
            log.warning("control-plane replica %s at %s does not answer: new calls go elsewhere", replica.id, replica.address)
        return sign is Sign.GONE

    async def _try(self, address: str, host: str, attempt: int) -> float:
        """How long a link was open. Whatever goes wrong, another dial follows: nobody else would ever dial that address."""
        try:
            try:
                async with self._trust.channel(address, host) as channel:
                    return await self._keep(*await self._open(address, host, channel, attempt))
            except grpc.RpcError as error:
                raise await self._trust.explain(error, address, host) or error from None
        except Exception as error:
            return self._failed(address, error)
        except asyncio.CancelledError:
            return self._failed(address, from_cancelled())

    async def _keep(self, replica: Replica, first: Sequence[link_pb2.Frame]) -> float:
        """One life of one link: how long it was open. `first`: frames that came with the Welcome."""
        self._on_open(replica)
        self.replicas[replica.address] = replica
        self._linked.append(replica)
        if self._look is None:
            self._look_again()
        self.last_error = None
        try:
            await self._until_closed(replica, first)
            lasted = _now() - replica.opened
            if asyncio.current_task() in self._retiring:
                if replica.bulk is not None:
                    replica.bulk.close()
                await replica.uses.over()
        finally:
            if replica.bulk is not None:
                replica.bulk.cut()
        return lasted

    async def _until_closed(self, replica: Replica, first: Sequence[link_pb2.Frame]) -> None:
        reason = "cancelled"
        try:
            if first:
                self._on_frames(replica.link, first)
            reason = await replica.link.run()
        finally:
            replica.link.abort()
            self._linked.remove(replica)
            if self.replicas.get(replica.address) is replica:
                del self.replicas[replica.address]
            self._on_close(replica, reason)

    def _failed(self, address: str, error: Exception) -> float:
        failure, cause = _told(address, error), None if isinstance(error, _EXPECTED) else error
        if self.last_error is None or str(self.last_error) != str(failure):
            log.warning("no link to %s: %s", address, failure, exc_info=cause)
        self.last_error, self.failed_at = failure, _now()
        return 0.0

    async def _open(self, address: str, host: str, channel: grpc.aio.Channel, attempt: int) -> tuple[Replica, Sequence[link_pb2.Frame]]:
        call = link_pb2_grpc.LinkServiceStub(channel).Link(metadata=self._metadata() or None)
        async with asyncio.timeout(WELCOME_SECONDS):
            hello = self._hello(address)
            if not hello.protocol:
                hello.protocol, hello.newest_protocol = OLDEST, NEWEST
            await call.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
            first = await call.read()
        if first is EOF or not first.frames or first.frames[0].WhichOneof("kind") != "welcome":
            raise ProtocolMismatch(f"{address} did not answer the Hello with a Welcome: is it a Snakepit control plane?")
        welcome = first.frames[0].welcome
        agreed(said(welcome.protocol, 0), f"the control plane at {address} (version {welcome.version or 'unknown'})", us="this program")
        lane, bulk = await self._lane(address, host, welcome, call)
        link = Link(self._on_frames, name=f"link to {address}")
        over = asyncio.ensure_future(call.read()) if isinstance(lane, Lane) else None
        link.use(lane, over)
        most = welcome.max_payload_bytes, welcome.max_large_payload_bytes
        replica = Replica(link, channel, address, welcome.replica, *most, bulk, attempt, _now())
        return replica, first.frames[1:]

    async def _lane(self, address: str, host: str, welcome: link_pb2.Welcome, call: Any) -> tuple[Lane | StreamLane, BulkLanes | None]:
        """What frames are to take. Where it is the stream, the replica is told so. Raises what the replica says where that won't do."""
        offered = welcome.lane
        where = offered.host or parse_target(address)[0], offered.port
        sock = None
        if self._lanes is not Lanes.OFF:
            sock = await dial(*where, offered.ticket, LANE_SECONDS[self._lanes], self._trust.tls(host))
        if sock is not None:
            return await Lane.on(sock), BulkLanes(*where, offered.bulk_ticket, lambda: self._trust.tls(host))
        async with asyncio.timeout(WELCOME_SECONDS):
            await call.write(link_pb2.LinkRequest())
            if self._lanes is Lanes.NEEDED:
                await call.read()
        if self._lanes is Lanes.NEEDED:
            raise ServerUnavailable(f"no lane could be opened to {where[0]}:{where[1]}")
        return StreamLane(call.read, call.write, link_pb2.LinkRequest, call.done_writing), None


def _now() -> float:
    return asyncio.get_running_loop().time()


_EXPECTED = (SnakepitError, grpc.RpcError, TimeoutError, asyncio.InvalidStateError)
"""What a dial may end with, whoever is at the other end."""


def _told(address: str, error: Exception) -> SnakepitError:
    """Why there is no link."""
    if isinstance(error, SnakepitError):
        return error
    if isinstance(error, grpc.RpcError):
        return from_rpc_error(error)
    if isinstance(error, TimeoutError):
        return ServerUnavailable(f"{address} did not answer the Hello within {WELCOME_SECONDS:g} s")
    if isinstance(error, asyncio.InvalidStateError):
        return ServerUnavailable(f"{address} ended the link while it was opened")
    return ServerUnavailable(f"the link to {address} could not be opened: {error!r}")
