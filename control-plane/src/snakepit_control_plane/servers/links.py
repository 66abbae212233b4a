"""LinkService.Link: what each frame of an agent or a client means, and whom it is for. One `Peer` for each open link."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, cast

import grpc

from snakepit import __version__
from snakepit import _wire as links
from snakepit._tasks import Tasks
from snakepit._wire import LinkClosed
from snakepit._wire.channels import MOST_FRAMES
from snakepit._wire.lane import Lane, StreamLane
from snakepit._wire.protocol import agreed, said
from snakepit._wire.status import to_frame
from snakepit.errors import Draining, InvalidArguments, ServerUnavailable, SnakepitError, Started
from snakepit.v1 import link_pb2, link_pb2_grpc
from snakepit_control_plane.authentication import Gate, Open
from snakepit_control_plane.authentication.gate import Claimed
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.servers.agent_bulk import serve_agent
from snakepit_control_plane.servers.arguments import set_apart
from snakepit_control_plane.servers.asking import Asking
from snakepit_control_plane.servers.bounds import Refusals, check_hello, overlong
from snakepit_control_plane.servers.bulk import BulkCall, BulkGroup, BulkServer
from snakepit_control_plane.servers.client_bulk import serve_client
from snakepit_control_plane.servers.lanes import TICKET_SECONDS, Lanes
from snakepit_control_plane.servers.offers import Provider
from snakepit_control_plane.servers.rpc import EOF, NO_MESSAGE, abort, caller, metadata
from snakepit_control_plane.servers.state import answer_state
from snakepit_control_plane.store.interface import Store

HELLO_SECONDS = 5.0

CLIENT_OUTBOX_BYTES = 16 * 1024 * 1024
"""A client that leaves so much unread is cut off."""

Context = grpc.aio.ServicerContext[Any, Any]

log = logging.getLogger(__name__)


class Peer(Protocol):
    role: str

    def on_frames(self, link: links.Link, frames: Sequence[link_pb2.Frame]) -> None: ...

    def closed(self) -> None: ...

    def finish(self) -> None:
        """Say what has to be said before this end closes the link."""

    async def serve_bulk(self, bulk: BulkCall) -> None:
        """A call on one of the link's bulk lanes. Raises SnakepitError."""

    def without_lane(self, port: int) -> SnakepitError | None:
        """It can't reach the lane port: why that won't do."""


class _Offered:
    """What a Welcome offers of lanes, for as long as the link is open; `lane` is the connection that has shown the first ticket."""

    def __init__(self, lanes: Lanes, bulk: BulkGroup) -> None:
        self.lane: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self.said = link_pb2.Lane(host=lanes.host, port=lanes.port, ticket=lanes.ticket(self._came), bulk_ticket=lanes.ticket(bulk.take))
        self._lanes = lanes
        self._bulk = bulk
        self._taken = False

    def _came(self, sock: socket.socket) -> bool:
        self._lanes.withdraw(self.said.ticket)
        self.lane.set_result(sock)
        return True

    def taken(self) -> socket.socket:
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

    def __init__(self, flow: Flow, fleet: Fleet, store: Store, replica: str, lanes: Lanes, gate: Gate | None = None) -> None:
        self._gate = gate or Open()
        self._lanes = lanes
        self.flow = flow
        self.fleet = fleet
        self.store = store
        self.replica = replica
        self.links: dict[links.Link, Peer] = {}
        self.bulk = BulkServer()
        self._stopping = False
        self._refused = Refusals()

    async def Link(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        read = partial(_read, context)
        try:
            who = await caller(self._gate, context)
            first, hello = await self._hello(read)
            protocol = agreed(said(hello.protocol, hello.newest_protocol), _title(hello, context))
            outbox = CLIENT_OUTBOX_BYTES if hello.role == link_pb2.ROLE_CLIENT else 0
            link = links.Link(self._on_frames, name=_name(hello, context), outbox_bytes=outbox)
            peer = await self._admit(hello, link, context, who)
        except SnakepitError as error:
            self._log_once(error, context)
            await abort(context, error)
            return
        offered = _Offered(self._lanes, BulkGroup(self.bulk, link.name, peer.serve_bulk))
        stopping = self._stopping
        self.links[link] = peer
        try:
            await context.write(self._welcome(protocol, offered.said))
            if stopping:
                link.send(link_pb2.Frame(go_away=link_pb2.GoAway()))
            peer.on_frames(link, first.frames[1:])
            log.debug("%s closed: %s", link.name, await self._run(link, peer, offered, read, context))
        finally:
            del self.links[link]
            offered.close()
            peer.closed()

    async def _hello(self, read: Callable[[], Awaitable[Any]]) -> tuple[link_pb2.LinkRequest, link_pb2.Hello]:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                first = cast(link_pb2.LinkRequest, await read())
        except TimeoutError:
            raise InvalidArguments(f"no Hello within {HELLO_SECONDS:g} s") from None
        if first is EOF or not first.frames or first.frames[0].WhichOneof("kind") != "hello":
            raise InvalidArguments("the first frame of a link must be a Hello")
        hello = first.frames[0].hello
        check_hello(hello)
        return first, hello

    async def _admit(self, hello: link_pb2.Hello, link: links.Link, context: Context, who: str) -> Peer:
        """Raises SnakepitError."""
        if hello.role == link_pb2.ROLE_AGENT:
            about = hello.capsule
            await self._gate.admit_agent(metadata(context), Claimed(about.name, about.pool, about.pod_uid))
            # Frames for the agent queue up in the link from now on, behind the Welcome.
            return AgentPeer(self, await self.fleet.join(hello, link.send), link)
        if hello.role == link_pb2.ROLE_CLIENT:
            if self._stopping:
                # Welcomed and sent away at once, a client would dial again and again, and its calls might slip in at the very end.
                raise Draining("this replica stops: dial another")
            return ClientPeer(self.flow, link, who)
        raise InvalidArguments(f"hello.role {hello.role} is unknown: use ROLE_CLIENT or ROLE_AGENT")

    def _welcome(self, protocol: int, lane: link_pb2.Lane) -> link_pb2.LinkResponse:
        welcome = link_pb2.Welcome(
            protocol=protocol,
            version=__version__,
            replica=self.replica,
            max_payload_bytes=self.flow.limits.max_payload_bytes,
            max_large_payload_bytes=self.flow.limits.max_large_payload_bytes,
            lane=lane,
        )
        return link_pb2.LinkResponse(frames=[link_pb2.Frame(welcome=welcome)])

    async def _run(self, link: links.Link, peer: Peer, offered: _Offered, read: Callable[[], Awaitable[Any]], context: Context) -> str:
        """Until the link ends: on the lane, if the peer comes there; on the stream, if a client says something here."""
        said_here = asyncio.ensure_future(read())
        try:
            await asyncio.wait((offered.lane, said_here), timeout=TICKET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if offered.lane.done():
                link.use(await Lane.on(offered.taken()), said_here)
            elif not said_here.done():
                return f"neither a lane nor a message within {TICKET_SECONDS:g} s"
            elif (message := said_here.result()) is EOF:
                return "the peer ended the stream"
            elif (problem := peer.without_lane(offered.said.port)) is not None:
                self._log_once(problem, context)
                await abort(context, problem)
            else:
                link.use(StreamLane(read, context.write, link_pb2.LinkResponse))
                peer.on_frames(link, message.frames)
            return await self._counted(link, peer)
        finally:
            link.close("the link was not opened")
            said_here.cancel()

    async def _counted(self, link: links.Link, peer: Peer) -> str:
        gauge = self.flow.telemetry.links.labels(peer.role, link.transport)
        gauge.inc()
        try:
            return await link.run()
        finally:
            gauge.dec()

    def _on_frames(self, link: links.Link, frames: Sequence[link_pb2.Frame]) -> None:
        self.links[link].on_frames(link, frames)

    def _log_once(self, error: SnakepitError, context: Context) -> None:
        """A peer dials again and again: say it once."""
        if line := self._refused.line(str(error), self.flow.clock()):
            log.warning("link refused: %s", line)

    def go_away(self) -> None:
        """Ask every peer, and every one that still comes, to send no new calls here."""
        self._stopping = True
        for link in self.links:
            with contextlib.suppress(LinkClosed):
                link.send(link_pb2.Frame(go_away=link_pb2.GoAway()))

    def close(self, reason: str) -> None:
        """Of what clients have sent, nothing more is taken. Who reads slowly on a bulk lane is not cut off: see BulkServer.finish."""
        self.bulk.leaves = True
        for link, peer in list(self.links.items()):
            peer.finish()
            link.close(reason)


class ClientPeer:
    """A client SDK: its calls come in, their results go out; and the other way round for tools that it offers."""

    role = "client"

    def __init__(self, flow: Flow, link: links.Link, caller: str) -> None:
        self._flow = flow
        self._caller = caller
        self._provider = Provider(flow, link)
        self._link = link
        self._calls: dict[int, Call] = {}
        self._last_call = 0
        self._finished = False

    def on_frames(self, link: links.Link, frames: Sequence[link_pb2.Frame]) -> None:
        now = self._flow.clock()
        for frame in frames:
            kind = frame.WhichOneof("kind")
            if kind == "call":
                if not self._finished:
                    self._call(frame, now, with_others=len(frames) > 1)
            elif kind == "cancel":
                call = self._calls.get(frame.cancel.id)
                if call is not None:
                    self._flow.calls.cancel(call)
                elif len(self._flow.transfers):
                    self._abandon(frame.cancel.id)
            elif not self._provider.take(kind, frame):
                link.pass_over(frame)

    def _call(self, frame: link_pb2.Frame, now: float, *, with_others: bool) -> None:
        asked = frame.call
        id_ = asked.id
        if id_ in self._calls:
            self._hang_up(f"two calls of this link have the id {id_}: give each open call an id of its own")
            return
        self._last_call = id_
        if asked.stream or asked.HasField("pieces"):
            error = to_frame(InvalidArguments("streams and pieces don't travel on a link: use one of its bulk lanes"))
            self._send(link_pb2.Frame(result=link_pb2.Result(id=id_, call_id=asked.call_id, error=error)))
            return
        lane = self._link.transport == Lane.name
        source = None if lane else set_apart(asked, self._flow.limits.max_payload_bytes)
        call = self._flow.intake.open(
            frame, self._reply, now, caller=self._caller, source=source, takes_pieces=lane, shares_memory=with_others
        )
        if not call.answered:
            self._calls[id_] = call

    def _reply(self, call: Call, frame: link_pb2.Frame) -> None:
        if call.answered:  # Else it is the call's Progress.
            self._calls.pop(call.id, None)
        self._send(frame)

    def _send(self, frame: link_pb2.Frame) -> None:
        try:
            self._link.send(frame)
        except LinkClosed:
            return  # `closed` has told, or will tell, the flow.

    def _hang_up(self, why: str) -> None:
        """Nothing more is taken of this link, and its calls end with it: their answers say why."""
        self._finished = True
        for call in list(self._calls.values()):
            self._flow.calls.cancel(call, InvalidArguments(why, started=Started.MAYBE if call.may_have_run else Started.NO))
        self._link.close(why)

    async def serve_bulk(self, bulk: BulkCall) -> None:
        await serve_client(self._flow, self._caller, lambda: self._finished, bulk)

    def without_lane(self, port: int) -> None:
        """Its frames take the stream."""

    def _abandon(self, id_: int | None = None) -> None:
        """Nobody fetches the large result of that call any more; None: of any call of this link."""
        self._flow.transfers.abandon(lambda call: call.reply == self._reply and id_ in (None, call.id))

    def finish(self) -> None:
        """From now on its calls are not taken; it is told which was the last, so that it can send later ones elsewhere."""
        self._finished = True
        with contextlib.suppress(LinkClosed):
            self._link.send(link_pb2.Frame(go_away=link_pb2.GoAway(last_call=self._last_call)))

    def closed(self) -> None:
        for call in list(self._calls.values()):
            self._flow.calls.cancel(call)
        self._provider.closed()
        self._abandon()


class AgentPeer:
    """An agent: its results, heartbeats and offers come in."""

    role = "agent"

    def __init__(self, server: LinkServicer, capsule: Capsule, link: links.Link) -> None:
        self._flow = server.flow
        self._fleet = server.fleet
        self._store = server.store
        self._capsule = capsule
        self._link = link
        self._send = server.flow.agents.senders[capsule]
        self._asking = Asking(server.flow, capsule, link)
        self._tasks = Tasks()

    def on_frames(self, link: links.Link, frames: Sequence[link_pb2.Frame]) -> None:
        capsule, flow = self._capsule, self._flow
        if flow.agents.senders.get(capsule) is not self._send:
            link.close("this agent was declared lost, or has linked anew")
            return
        capsule.heard_at(flow.clock())
        for frame in frames:
            kind = frame.WhichOneof("kind")
            if kind == "result":
                flow.outcomes.answered(capsule, frame)
            elif kind == "reject":
                flow.outcomes.rejected(capsule, frame.reject)
            else:
                self._other(link, kind, frame)

    def _other(self, link: links.Link, kind: str | None, frame: link_pb2.Frame) -> None:
        if problem := overlong(kind, frame):
            link.close(problem)
        elif kind == "report":
            self._fleet.reported(self._capsule, frame.report)
        elif kind == "load":
            self._fleet.loaded_elsewhere(self._capsule, frame.load)
        elif kind == "offer":
            self._fleet.offered(self._capsule, frame.offer)
        elif kind == "session_released":
            self._flow.sessions.releases.answered(frame.session_released)
        elif kind == "state_request":
            self._tasks.spawn(self._state(frame.state_request))
        elif kind == "progress":
            self._progress(frame)
        elif not self._asking.take(kind, frame):
            link.pass_over(frame)

    def _progress(self, frame: link_pb2.Frame) -> None:
        """For callers who asked for it."""
        call = self._capsule.inflight.get(frame.progress.id)
        if call is not None and not call.answered and call.message.progress:
            frame.progress.id = call.id
            call.reply(call, frame)

    async def _state(self, request: link_pb2.StateRequest) -> None:
        reply = await answer_state(self._flow, self._store, self._capsule.pool, request)
        with contextlib.suppress(LinkClosed):
            self._link.send(link_pb2.Frame(state_reply=reply))

    async def serve_bulk(self, bulk: BulkCall) -> None:
        await serve_agent(self._flow, self._capsule, bulk)

    def without_lane(self, port: int) -> SnakepitError:
        """Said in the pool's status too, until it has one."""
        reach = f"can't reach port {port} of the control plane, where links have their lanes: let its pod through to it, as to gRPC's"
        self._capsule.problem = f"its agent {reach}"
        self._fleet.changes.tell()
        return ServerUnavailable(f"capsule {self._capsule.name} {reach}")

    def finish(self) -> None:
        """An agent gets calls; it sends none of its own."""

    def closed(self) -> None:
        self._asking.closed()
        self._fleet.leave(self._capsule, self._send)


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
    """Who to upgrade."""
    role = f"the agent of capsule {hello.capsule.name}" if hello.role == link_pb2.ROLE_AGENT else "the client"
    return f"{role} at {context.peer()} (version {hello.version or 'unknown'})"
