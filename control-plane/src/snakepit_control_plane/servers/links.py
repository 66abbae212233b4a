"""LinkService.Link: who may have a link, and what carries it. One `Peer` for each open link."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, cast

import grpc

from snakepit import __version__
from snakepit import _wire as links
from snakepit._wire import LinkClosed
from snakepit._wire.channels import MOST_FRAMES
from snakepit._wire.connect import Connection
from snakepit._wire.lane import Lane, in_turns
from snakepit._wire.protocol import agreed, said
from snakepit._wire.stream_lane import StreamLane
from snakepit._wire.turns import Turns
from snakepit.errors import Cancelled, Draining, InvalidArguments, SnakepitError
from snakepit.v1 import link_pb2, link_pb2_grpc
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.shares import ADDRESS, SUBJECT, address_of
from snakepit_control_plane.servers.agent_link import AgentPeer
from snakepit_control_plane.servers.arrivals import EOF
from snakepit_control_plane.servers.bounds import Refusals, check_hello
from snakepit_control_plane.servers.bulk import BulkCall, BulkGroup, BulkServer
from snakepit_control_plane.servers.client_link import ClientPeer
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.lanes import TICKET_SECONDS, Lanes
from snakepit_control_plane.servers.rpc import NO_MESSAGE, abort, metadata, write
from snakepit_control_plane.store.interface import Store

HELLO_SECONDS = 5.0

CLIENT_OUTBOX_BYTES = 16 * 1024 * 1024
"""A client that leaves so much unread is cut off."""

CLIENTS_TURN_SECONDS = 0.0005
"""A call waits for one of others' turns four times, there and back."""

ROBBED = "somebody else has come with its lane's ticket: its peer has no lane"

_NOTHING_TAKEN = link_pb2.LinkResponse(frames=[link_pb2.Frame(go_away=link_pb2.GoAway(last_call=0))])

Context = grpc.aio.ServicerContext[Any, Any]

log = logging.getLogger(__name__)


class Peer(Protocol):
    role: str
    whose_lanes: str
    """Whose its bulk lanes are, all of whose have a bound; empty: nobody's."""

    def on_frames(self, link: links.Link, frames: Sequence[link_pb2.Frame]) -> None: ...

    def closed(self) -> None: ...

    def finish(self) -> None:
        """Say what has to be said before this end closes the link."""

    async def serve_bulk(self, bulk: BulkCall) -> None:
        """A call on one of the link's bulk lanes. Raises SnakepitError."""

    def with_lane(self) -> None:
        """It has reached the lane port."""

    def without_lane(self, port: int) -> SnakepitError | None:
        """It can't reach the lane port: why that won't do."""


class _Offered:
    """What a Welcome offers of lanes, for as long as the link is open; `lane` is the connection that has shown the first ticket."""

    def __init__(self, lanes: Lanes, bulk: BulkGroup) -> None:
        self.lane: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.said = link_pb2.Lane(host=lanes.host, port=lanes.port, ticket=lanes.ticket(self._came), bulk_ticket=lanes.ticket(bulk.take))
        self._lanes = lanes
        self._bulk = bulk
        self._taken = False

    def _came(self, sock: Connection) -> bool:
        self._lanes.withdraw(self.said.ticket)
        self.lane.set_result(sock)
        return True

    def taken(self) -> Connection:
        self._taken = True
        return self.lane.result()

    def close(self) -> None:
        self._lanes.withdraw(self.said.ticket)
        self._lanes.withdraw(self.said.bulk_ticket)
        if self.lane.done() and not self._taken:
            self.lane.result().close()
        self._bulk.close()


class LinkServicer(link_pb2_grpc.LinkServiceServicer):
    """`replica` is this process's random name."""

    def __init__(self, flow: Flow, fleet: Fleet, store: Store, replica: str, lanes: Lanes, door: Door) -> None:
        self._door = door
        self._lanes = lanes
        self.flow = flow
        self.fleet = fleet
        self.store = store
        self.replica = replica
        self.links: dict[links.Link, Peer] = {}
        self.bulk = BulkServer()
        self._stopping = False
        fleet.standing.told = self._tell_standing
        self._refused = Refusals()
        # Agents have their own: results don't wait for callers who say a lot.
        self._turns = {AgentPeer.role: Turns(), ClientPeer.role: Turns(CLIENTS_TURN_SECONDS)}

    async def Link(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        read = partial(_read, context)
        try:
            self._door.shares.hello(ADDRESS, address_of(context.peer()), self.flow.clock())
            first, hello = await self._hello(read)
            protocol = agreed(said(hello.protocol, hello.newest_protocol), _title(hello, context))
            outbox = CLIENT_OUTBOX_BYTES if hello.role == link_pb2.ROLE_CLIENT else 0
            link = links.Link(self._on_frames, name=_name(hello, context), outbox_bytes=outbox)
            peer = await self._admit(hello, link, context)
        except SnakepitError as error:
            if not isinstance(error, Cancelled):
                self._log_once(error, context)
            await abort(context, error)
            return
        offered = _Offered(self._lanes, BulkGroup(self.bulk, link.name, peer.serve_bulk, peer.whose_lanes))
        stopping = self._stopping
        self.links[link] = peer
        try:
            if self.bulk.leaves:
                await abort(context, Draining("this replica has stopped: dial another"))
            await context.write(self._welcome(protocol, offered.said, peer.role))
            if stopping:
                link.send(link_pb2.Frame(go_away=link_pb2.GoAway()))
            await in_turns(first.frames[1:], partial(peer.on_frames, link), self._turns[peer.role])
            log.debug("%s closed: %s", link.name, await self._run(link, peer, offered, read, context))
        finally:
            del self.links[link]
            offered.close()
            peer.closed()
        if link.transport == Lane.name:  # Its peer may have given it up, and may be on the stream: nobody else reads this.
            await write(context, _NOTHING_TAKEN)

    async def _hello(self, read: Callable[[], Awaitable[Any]]) -> tuple[link_pb2.LinkRequest, link_pb2.Hello]:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                first = cast(link_pb2.LinkRequest, await read())
        except TimeoutError:
            raise InvalidArguments(f"no Hello within {HELLO_SECONDS:g} s") from None
        if first is EOF:
            raise Cancelled("the link ended before its Hello")  # Whoever dialled has given it up, and it is nobody's fault.
        if not first.frames or first.frames[0].WhichOneof("kind") != "hello":
            raise InvalidArguments("the first frame of a link must be a Hello")
        hello = first.frames[0].hello
        check_hello(hello)
        return first, hello

    async def _admit(self, hello: link_pb2.Hello, link: links.Link, context: Context) -> Peer:
        """Raises SnakepitError."""
        if hello.role == link_pb2.ROLE_AGENT:
            await self._door.gate.admit_agent(metadata(context), hello.capsule)
            self._door.shown(context.peer(), None, link=True)
            # Frames for the agent queue up in the link from now on, behind the Welcome.
            return AgentPeer(self.flow, self.fleet, self.store, await self.fleet.join(hello, link.send), link, self._door)
        if hello.role == link_pb2.ROLE_CLIENT:
            if self._stopping:
                # Welcomed and sent away at once, a client would dial again and again, and its calls might slip in at the very end.
                raise Draining("this replica stops: dial another")
            if (caller := await self._door.caller(context)).bearer is not None:
                raise InvalidArguments("a link is its bearer's: say in each call, in Call.caller, whose it is")
            self._door.shown(context.peer(), caller.sender, link=True)
            if caller.subject:
                self._door.shares.hello(SUBJECT, caller.subject, self.flow.clock())
            return ClientPeer(self.flow, link, caller, self._door, address_of(context.peer()), self._turns[ClientPeer.role])
        raise InvalidArguments(f"hello.role {hello.role} is unknown: use ROLE_CLIENT or ROLE_AGENT")

    def _welcome(self, protocol: int, lane: link_pb2.Lane, role: str) -> link_pb2.LinkResponse:
        """With what a client must know before its first call."""
        welcome = link_pb2.Welcome(
            protocol=protocol,
            version=__version__,
            replica=self.replica,
            max_payload_bytes=self.flow.limits.max_payload_bytes,
            max_large_payload_bytes=self.flow.limits.max_large_payload_bytes,
            lane=lane,
        )
        besides = [self._standing()] if self.fleet.standing.lacks_store and role == ClientPeer.role else []
        return link_pb2.LinkResponse(frames=[link_pb2.Frame(welcome=welcome), *besides])

    async def _run(self, link: links.Link, peer: Peer, offered: _Offered, read: Callable[[], Awaitable[Any]], context: Context) -> str:
        """Until the link ends: on the lane, if the peer comes there; on the stream, if a client says something here."""
        said_here, turns = asyncio.ensure_future(read()), self._turns[peer.role]
        try:
            await asyncio.wait((offered.lane, said_here), timeout=TICKET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if offered.lane.done():
                said_here.add_done_callback(partial(self._robbed, link))
                peer.with_lane()
                link.use(await Lane.on(offered.taken(), turns), said_here)
            elif not said_here.done():
                return f"neither a lane nor a message within {TICKET_SECONDS:g} s"
            elif (message := said_here.result()) is EOF:
                return "the peer ended the stream"
            elif (problem := peer.without_lane(offered.said.port)) is not None:
                self._log_once(problem, context)
                await abort(context, problem)
            else:
                link.use(StreamLane(read, context.write, link_pb2.LinkResponse, turns=turns))
                await in_turns(message.frames, partial(peer.on_frames, link), turns)
            return await self._counted(link, peer)
        finally:
            link.close("the link was not opened")
            said_here.cancel()

    def _robbed(self, link: links.Link, said_here: asyncio.Future[Any]) -> None:
        """Whoever has the stream has shown a token, and whoever has the lane a ticket alone: who says on the stream that it has no lane is
        believed. It dials again, and has its calls taken there."""
        if not said_here.cancelled() and said_here.exception() is None and said_here.result() is not EOF:
            log.warning("%s is ended: %s", link.name, ROBBED)
            link.give_up(ROBBED)

    async def _counted(self, link: links.Link, peer: Peer) -> str:
        gauge, labels = self.flow.telemetry.links, (peer.role, link.transport)
        gauge.add(*labels)
        try:
            return await link.run()
        finally:
            gauge.add(*labels, by=-1)

    def _on_frames(self, link: links.Link, frames: Sequence[link_pb2.Frame]) -> None:
        self.links[link].on_frames(link, frames)

    def _log_once(self, error: SnakepitError, context: Context) -> None:
        """A peer dials again and again: say it once."""
        if line := self._refused.line(str(error), self.flow.clock()):
            log.warning("link refused: %s", line)

    def _standing(self) -> link_pb2.Frame:
        return link_pb2.Frame(replica_status=link_pb2.ReplicaStatus(store_unavailable=self.fleet.standing.lacks_store))

    def _tell_standing(self) -> None:
        self._tell(self._standing(), ClientPeer.role)

    def go_away(self) -> None:
        """Ask every peer, and every one that still comes, to send no new calls here."""
        self._stopping = True
        self._tell(link_pb2.Frame(go_away=link_pb2.GoAway()), *self._turns)

    def _tell(self, frame: link_pb2.Frame, *roles: str) -> None:
        for link, peer in self.links.items():
            if peer.role in roles:
                with contextlib.suppress(LinkClosed):
                    link.send(frame)

    def close(self, reason: str) -> None:
        """Of what clients have sent, nothing more is taken. Who reads slowly on a bulk lane is not cut off: see BulkServer.finish."""
        self.bulk.leaves = True
        for link, peer in list(self.links.items()):
            peer.finish()
            link.close(reason)


async def _read(context: Context) -> Any:
    """A message of the stream, or EOF. What is none, or has too many frames, ends the stream."""
    message: Any = await context.read()
    if message is None:
        await abort(context, InvalidArguments(NO_MESSAGE))
    elif message is not EOF and len(message.frames) > MOST_FRAMES:
        await abort(context, InvalidArguments(f"a message has {len(message.frames)} frames, {MOST_FRAMES} is the most"))
    return message


def _name(hello: link_pb2.Hello, context: Context) -> str:
    return f"link of capsule {hello.capsule.name}" if hello.role == link_pb2.ROLE_AGENT else f"link of client {context.peer()}"


def _title(hello: link_pb2.Hello, context: Context) -> str:
    """Who to upgrade, in the same words each time that it dials: its port would be another one."""
    role = f"the agent of capsule {hello.capsule.name}" if hello.role == link_pb2.ROLE_AGENT else "the client"
    return f"{role} at {address_of(context.peer())} (version {hello.version or 'unknown'})"
