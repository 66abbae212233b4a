"""A control-plane replica as an agent sees it: the real LinkService on a real port, driven by a test instead of a router."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from snakepit._names import new_id
from snakepit._wire import Link
from snakepit._wire.bulk import Piece
from snakepit._wire.channels import MAX_LARGE_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES, server_options
from snakepit._wire.lane import Lane
from snakepit._wire.protocol import NEWEST
from snakepit._wire.status import to_frame, to_status
from snakepit.errors import Cancelled, StaleEpoch
from snakepit.v1 import common_pb2, link_pb2, link_pb2_grpc, pool_pb2
from snakepit_control_plane.servers.bulk import BulkCall, BulkGroup, BulkServer
from snakepit_control_plane.servers.lanes import Lanes
from snakepit_control_plane.store.memory import stale

T = TypeVar("T")
WAIT_SECONDS = 15.0


class Replica(link_pb2_grpc.LinkServiceServicer):
    """Keeps everything that agents say. `state` answers state operations of a session's newest call; `take_chunks` lets chunks be taken."""

    def __init__(self, id_: str = "", max_large_payload_bytes: int = MAX_LARGE_PAYLOAD_BYTES) -> None:
        self.id = id_ or new_id()
        self.port = 0
        self.max_large_payload_bytes = max_large_payload_bytes
        self.hellos: list[link_pb2.Hello] = []
        self.frames: list[link_pb2.Frame] = []
        self.chunks: dict[int, list[link_pb2.Chunk]] = {}
        self.pieces: dict[int, bytearray] = {}
        self.chunk_messages = 0
        self.state: dict[str, tuple[common_pb2.Payload, int]] = {}
        self.fences: dict[str, tuple[str, int]] = {}
        """Of each session, the uid and the epoch of its newest call."""
        self.state_requests: list[link_pb2.StateRequest] = []
        self.take_chunks = asyncio.Event()
        self.take_chunks.set()
        self.refuse_chunks = False
        self.lost: set[str] = set()
        self.link: Link | None = None
        self._server: grpc.aio.Server | None = None
        self._last_id = 0
        self._changed = asyncio.Event()
        self._lanes, self._bulk = Lanes(), BulkServer()

    # ---- the service

    async def Link(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        first = await context.read()
        if first.frames[0].hello.capsule.incarnation in self.lost:
            code, message, trailers = to_status(StaleEpoch("declared lost"))
            await context.abort(code, message, trailers)
        self.hellos.append(first.frames[0].hello)
        came: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        group = BulkGroup(self._bulk, "the agent", self._serve)
        lane = link_pb2.Lane(
            port=self._lanes.port,
            ticket=self._lanes.ticket(lambda sock: came.set_result(sock) is None),
            bulk_ticket=self._lanes.ticket(group.take),
        )
        welcome = link_pb2.Welcome(
            protocol=NEWEST,
            replica=self.id,
            max_payload_bytes=MAX_PAYLOAD_BYTES,
            max_large_payload_bytes=self.max_large_payload_bytes,
            lane=lane,
        )
        await context.write(link_pb2.LinkResponse(frames=[link_pb2.Frame(welcome=welcome)]))
        with contextlib.closing(group):
            self.link = Link(self._on_frames, name="replica")
            self.link.use(await Lane.on(await came), asyncio.ensure_future(context.read()))
            self._changed.set()
            await self.link.run()

    async def _serve(self, bulk: BulkCall) -> None:
        id_ = 0
        while (message := await bulk.read()) is not None:
            if isinstance(message, Piece):
                await self._read_piece(id_, message)
                continue
            said = link_pb2.FromAgent.FromString(message)
            id_ = said.id or id_
            self.chunk_messages += 1
            self.chunks.setdefault(id_, []).extend(said.chunks)
            self._changed.set()
            if self.refuse_chunks:
                raise Cancelled("the consumer has gone")
            await self.take_chunks.wait()
            await bulk.write(link_pb2.ToAgent(taken=len(said.chunks)).SerializeToString())

    async def _read_piece(self, id_: int, piece: Piece) -> None:
        room = bytearray(piece.size)
        while piece.left:
            await piece.some(memoryview(room)[piece.size - piece.left :])
        self.pieces.setdefault(id_, bytearray()).extend(room)
        self._changed.set()

    def _on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        for frame in frames:
            if frame.HasField("ping"):
                link.pass_over(frame)
                continue
            self.frames.append(frame)
            if frame.HasField("state_request"):
                self._on_state(frame.state_request)
        self._changed.set()

    def _on_state(self, request: link_pb2.StateRequest) -> None:
        self.state_requests.append(request)
        reply = link_pb2.StateReply(id=request.id)
        uid, epoch = self.fences.get(request.session_id, ("", 0))
        if (request.session_uid, request.session_epoch) != (uid, epoch):
            reply.error.CopyFrom(to_frame(stale(request.session_id, another_life=request.session_uid != uid)))
        elif request.HasField("set"):
            version = self.state.get(request.set.key, (None, 0))[1] + 1
            self.state[request.set.key] = (request.set.value, version)
            reply.version, reply.written = version, True
        elif request.HasField("get") and request.get.key in self.state:
            value, reply.version = self.state[request.get.key]
            reply.found = True
            reply.value.CopyFrom(value)
        self.send(link_pb2.Frame(state_reply=reply))

    # ---- what a test does

    def send(self, frame: link_pb2.Frame) -> None:
        assert self.link is not None
        if frame.HasField("call"):
            self._bind(frame.call)
        self.link.send(frame)

    def _bind(self, call: link_pb2.Call) -> None:
        """The session is where its newest call goes; one of an older epoch, as a test may send it, takes it back nowhere."""
        uid, epoch = self.fences.get(call.session_id, ("", 0))
        if call.session_uid != uid or call.session_epoch > epoch:
            self.fences[call.session_id] = (call.session_uid, call.session_epoch)

    def call(self, worker: pool_pb2.Worker, tool: str, arguments: object = None, **fields: Any) -> int:
        """Send a call to a worker; the id."""
        self._last_id += 1
        payload = common_pb2.Payload(content_type="application/json", data=json.dumps(arguments or {}).encode())
        call = link_pb2.Call(
            id=self._last_id,
            call_id=f"call-{self._last_id}",
            tool=tool,
            arguments=payload,
            worker=worker.id,
            incarnation=worker.incarnation,
        )
        call.MergeFrom(link_pb2.Call(**fields))
        self.send(link_pb2.Frame(call=call))
        return self._last_id

    async def until(self, condition: Callable[[], T], what: str = "", seconds: float = WAIT_SECONDS) -> T:
        """Wait for news until the condition is true."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := condition()):
                    self._changed.clear()
                    await self._changed.wait()
                return value
        except TimeoutError:
            raise AssertionError(f"never happened: {what or condition}; heard: {self.frames[-8:]}") from None

    @property
    def address(self) -> str:
        """Of its gRPC, once it serves; also while it is stopped."""
        return f"127.0.0.1:{self.port}"

    def heard(self, kind: str) -> list[Any]:
        return [getattr(frame, kind) for frame in self.frames if frame.WhichOneof("kind") == kind]

    def workers(self) -> list[pool_pb2.Worker]:
        """As the last report says."""
        reports = self.heard("report")
        return list(reports[-1].workers) if reports else []

    async def ready(self, count: int = 1) -> list[pool_pb2.Worker]:
        """Wait for so many ready workers."""

        def found() -> list[pool_pb2.Worker]:
            ready = [w for w in self.workers() if w.state == pool_pb2.WORKER_STATE_READY]
            return ready if len(ready) >= count else []

        return await self.until(found, f"{count} ready workers")

    async def state_of(self, state: pool_pb2.WorkerState, reason: str = "") -> pool_pb2.Worker:
        """Wait for a worker in a state."""
        return await self.until(
            lambda: next((w for w in self.workers() if w.state == state and reason in ("", w.reason)), None),
            f"a worker in state {state} {reason}",
        )

    async def result(self, id_: int, seconds: float = WAIT_SECONDS) -> link_pb2.Result:
        await self.until(lambda: any(r.id == id_ for r in self.heard("result")), f"the result of call {id_}", seconds)
        return next(r for r in self.heard("result") if r.id == id_)

    async def streamed(self, id_: int) -> link_pb2.Result:
        """The result of a streaming call all of whose chunks have come."""
        await self.until(lambda: any(chunk.last for chunk in self.chunks.get(id_, ())), f"the last chunk of call {id_}")
        return await self.result(id_)

    async def begun(self, id_: int) -> None:
        """Wait until the tool of a call has said that it runs."""
        await self.until(lambda: any(p.id == id_ for p in self.heard("progress")), f"the progress of call {id_}")

    async def rejected(self, id_: int) -> link_pb2.Reject:
        return await self.until(lambda: next((r for r in self.heard("reject") if r.id == id_), None), f"the reject of call {id_}")

    async def value(self, id_: int) -> Any:
        """The JSON value that a call gave."""
        result = await self.result(id_)
        assert result.HasField("payload"), result
        if not result.HasField("pieces"):
            return json.loads(result.payload.data)
        (size,) = result.pieces.sections
        await self.until(lambda: len(self.pieces.get(id_, b"")) == size, f"the pieces of the result of call {id_}")
        return json.loads(self.pieces[id_])

    # ---- the server

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server(options=server_options())
        link_pb2_grpc.add_LinkServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._lanes.start("127.0.0.1:0")
        await self._server.start()

    async def stop(self) -> None:
        """Break every link, without a word."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
            await self._lanes.stop()


@asynccontextmanager
async def replica(**options: Any) -> AsyncIterator[Replica]:
    """A replica that serves."""
    serving = Replica(**options)
    await serving.start()
    try:
        yield serving
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await serving.stop()
