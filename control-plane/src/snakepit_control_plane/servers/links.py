"""LinkService.Link: what each frame of an agent or a client means, and whom it is for. One `Peer` for each open link."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, cast

import grpc

from snakepit import __version__
from snakepit import _wire as links
from snakepit._wire import LinkClosed
from snakepit._wire.bulk import CARRY, PIPE
from snakepit._wire.channels import MOST_FRAMES
from snakepit._wire.lane import Lane
from snakepit._wire.protocol import agreed, said
from snakepit._wire.status import to_frame
from snakepit.errors import Draining, InvalidArguments, SnakepitError, Started
from snakepit.v1 import link_pb2, link_pb2_grpc
from snakepit_control_plane.authentication import Gate, Open
from snakepit_control_plane.authentication.gate import Claimed
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.servers.asking import Asking
from snakepit_control_plane.servers.bounds import Refusals, check_hello, overlong
from snakepit_control_plane.servers.bulk import BulkGroup, BulkServer
from snakepit_control_plane.servers.carry import serve_carry
from snakepit_control_plane.servers.lanes import TICKET_SECONDS, Lanes
from snakepit_control_plane.servers.offers import Provider
from snakepit_control_plane.servers.pipes import serve_pipe
from snakepit_control_plane.servers.rpc import EOF, NO_MESSAGE, abort, caller, metadata, readable
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
        self.bulk = BulkServer({PIPE: self.Pipe, CARRY: self.Carry})
        self._stopping = False
        self._closed = False
        self._refused = Refusals()

    def handlers(self) -> Any:
        """Instead of the generated ones: Pipe and Carry get and give messages as bytes, because pieces are passed on as they are."""
        link = grpc.stream_stream_rpc_method_handler(
            self.Link,
            request_deserializer=readable(link_pb2.LinkRequest),
            response_serializer=link_pb2.LinkResponse.SerializeToString,
        )
        raw = {"Pipe": self.Pipe, "Carry": self.Carry}
        streams = {name: grpc.stream_stream_rpc_method_handler(serve) for name, serve in raw.items()}
        service = link_pb2.DESCRIPTOR.services_by_name["LinkService"].full_name
        return grpc.method_handlers_generic_handler(service, {"Link": link, **streams})

    async def Pipe(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        await serve_pipe(self.flow, self._gate, context)

    async def Carry(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        await serve_carry(self.flow, context, await caller(self._gate, context), lambda: self._closed)

    async def Link(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        who = await caller(self._gate, context)
        with contextlib.closing(BulkGroup(self.bulk, self._lanes, who)) as bulk:
            await self._link(context, bulk, who)

    async def _link(self, context: Context, bulk: BulkGroup, who: str) -> None:
        try:
            read = partial(_read, context)
            first, hello = await self._hello(read)
            name, outbox = _name(hello, context), CLIENT_OUTBOX_BYTES if hello.role == link_pb2.ROLE_CLIENT else 0
            link = links.Link(read, context.write, link_pb2.LinkResponse, self._on_frames, name=name, outbox_bytes=outbox)
            offered = self._lanes.offer() if hello.takes_lane else None
            if offered is not None:
                bulk.offer(offered[0])
            try:
                peer = await self._welcome(hello, link, context, who, offered[0] if offered is not None else None)
            except BaseException:
                if offered is not None:
                    offered[1].cancel()
                raise
        except SnakepitError as error:
            self._log_once(error, context)
            await abort(context, error)
            return
        self.links[link] = peer
        try:
            if self._stopping:
                link.send(link_pb2.Frame(go_away=link_pb2.GoAway()))
            peer.on_frames(link, first.frames[1:])
            run = partial(self._run, link, peer)
            ran = run() if offered is None else _run_somewhere(link, peer, offered[1], read, run)
            log.debug("%s closed: %s", link.name, await ran)
        finally:
            del self.links[link]
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

    async def _welcome(self, hello: link_pb2.Hello, link: links.Link, context: Context, who: str, lane: link_pb2.Lane | None) -> Peer:
        peer: Peer
        protocol = agreed(said(hello.protocol, hello.newest_protocol), _title(hello, context))
        if hello.role == link_pb2.ROLE_AGENT:
            about = hello.capsule
            await self._gate.admit_agent(metadata(context), Claimed(about.name, about.pool, about.pod_uid))
            # Frames for the agent queue up in the link from now on, behind the Welcome.
            capsule = await self.fleet.join(hello, link.send)
            peer = AgentPeer(self, capsule, link)
        elif hello.role == link_pb2.ROLE_CLIENT:
            if self._stopping:
                # Welcomed and sent away at once, a client would dial again and again, and its calls might slip in at the very end.
                raise Draining("this replica stops: dial another")
            peer = ClientPeer(self.flow, link, who)
        else:
            raise InvalidArguments(f"hello.role {hello.role} is unknown: use ROLE_CLIENT or ROLE_AGENT")
        welcome = link_pb2.Welcome(
            protocol=protocol,
            version=__version__,
            replica=self.replica,
            max_payload_bytes=self.flow.limits.max_payload_bytes,
            max_large_payload_bytes=self.flow.limits.max_large_payload_bytes,
            lane=lane,
        )
        try:
            await context.write(link_pb2.LinkResponse(frames=[link_pb2.Frame(welcome=welcome)]))
        except BaseException:
            peer.closed()
            raise
        return peer

    async def _run(self, link: links.Link, peer: Peer) -> str:
        """Until the link ends; counted as long."""
        gauge = self.flow.telemetry.links.labels(peer.role, "lane" if link.has_lane else "stream")
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
        self._closed = self.bulk.leaves = True
        for link, peer in list(self.links.items()):
            if link.is_open:
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
            error = to_frame(InvalidArguments("streams and pieces don't travel on a link: use LinkService.Carry"))
            self._send(link_pb2.Frame(result=link_pb2.Result(id=id_, call_id=asked.call_id, error=error)))
            return
        call = self._flow.intake.open(frame, self._reply, now, caller=self._caller, takes_pieces=True, shares_memory=with_others)
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
        self._tasks: set[asyncio.Task[None]] = set()

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
            self._spawn(self._state(frame.state_request))
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def finish(self) -> None:
        """An agent gets calls; it sends none of its own."""

    def closed(self) -> None:
        self._asking.closed()
        self._fleet.leave(self._capsule, self._send)


async def _run_somewhere(
    link: links.Link, peer: Peer, lane: asyncio.Future[Lane], read: Callable[[], Awaitable[Any]], run: Callable[[], Awaitable[str]]
) -> str:
    """On the lane, if the peer comes there; on the stream, if it says something here."""
    said_here = asyncio.ensure_future(read())
    try:
        await asyncio.wait((lane, said_here), timeout=TICKET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if lane.done():
            link.use(lane.result(), said_here)
        elif not said_here.done():
            link.close(f"neither a lane nor a message within {TICKET_SECONDS:g} s")
        elif (message := said_here.result()) is EOF:
            link.close("the peer ended the stream")
        else:
            peer.on_frames(link, message.frames)
        return await run() if link.is_open else link.close_reason
    finally:
        if not lane.cancel():
            lane.result().abort()
        said_here.cancel()


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
