"""What a client SDK's bulk lanes carry: a large call, or one that streams, and the large result of one that went over the link.

Large arguments go up, chunks and large results down. Everything that ends a call is said in a message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

from snakepit._values.strings import quoted
from snakepit._wire.bulk import Cut, LaneBroken, Moved, Piece
from snakepit.errors import Draining, InvalidArguments, StaleEpoch, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.streams import PROGRESS_KEPT, Stream
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.admission import check_sections
from snakepit_control_plane.servers.arguments import Upload
from snakepit_control_plane.servers.bulk import BulkCall
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.rpc import NO_MESSAGE, readable

_read = readable(link_pb2.FromClient)


async def serve_client(flow: Flow, caller: Caller, door: Door, is_closed: Callable[[], bool], bulk: BulkCall) -> None:
    """One call. `is_closed`: is nothing more taken? Raises SnakepitError for what can't be said in a message."""
    message = await bulk.read()
    if is_closed():
        raise Draining("this replica stops: dial another")
    first = _read(message) if isinstance(message, bytes) else None
    if first is None:
        raise InvalidArguments(NO_MESSAGE)
    del message
    if first.call.HasField("pieces") and (problem := check_sections(first.call.pieces.sections)) is not None:
        raise problem
    with flow.calls.delivering():
        if first.fetch:
            await _fetch(flow, first.fetch, caller, bulk)
        else:
            caller, pool = await door.whose(caller, first.call), flow.pools.named(first.call.pool)
            any_session = pool is not None and await door.may_call(caller, pool.name, first.call.session_id)
            call = _ClientCall(flow, bulk, caller, any_session, first)
            del first  # The call has its own copy; here it would stay for as long as the stream does.
            await call.run()


async def _fetch(flow: Flow, call_id: str, caller: Caller, bulk: BulkCall) -> None:
    stream = flow.transfers.find(call_id, caller.subject)
    if stream is None:
        raise StaleEpoch(f"no result of call {quoted(call_id)} waits here", started=Started.YES)
    try:
        await pass_down(stream, bulk.write, bulk.write_piece)
    finally:
        stream.abandon()


async def pass_down(
    stream: Stream, write: Callable[[bytes], Awaitable[None]], write_piece: Callable[[Piece, Moved], Awaitable[None]]
) -> None:
    """Everything to the caller. A write waits for as long as the caller holds the stream; its call does not (see Stream.put)."""
    while not stream.finished:
        item = await stream.take()
        if isinstance(item, Piece):
            with contextlib.suppress(Cut):  # The stream says what has become of the rest.
                await write_piece(item, stream.moved)
        elif isinstance(item, link_pb2.Progress):
            await write(link_pb2.ToClient(progress=item).SerializeToString())
        else:
            await write(link_pb2.ToClient(chunks=stream.take_more(item)).SerializeToString())


class _ClientCall:
    """One call from its first message to its end."""

    def __init__(self, flow: Flow, bulk: BulkCall, caller: Caller, any_session: bool, first: link_pb2.FromClient) -> None:
        self._frame, self._caller, self._any_session = link_pb2.Frame(call=first.call), caller, any_session
        self._flow = flow
        self._bulk = bulk
        self._result: link_pb2.Result | None = None
        self._progress: deque[link_pb2.Progress] = deque(maxlen=PROGRESS_KEPT)
        self._told = asyncio.Event()
        self._stream = Stream(lambda end: flow.calls.answer(self._call, end)) if first.call.stream else None
        self._upload = Upload(first.call.pieces.sections, self._want)

    async def run(self) -> None:
        """Raises SnakepitError for what can't be said in a message."""
        frame = self._frame
        if not frame.call.tool:
            raise InvalidArguments("tool is missing: name the tool to run")
        self._call = self._flow.intake.open(
            frame,
            self._stream.reply if self._stream is not None else self._reply,
            self._flow.clock(),
            who=self._caller,
            any_session=self._any_session,
            sink=self._stream,
            source=self._upload if frame.call.HasField("pieces") else None,
            takes_pieces=True,
        )
        if self._stream is not None:
            self._stream.watch(self._flow.calls, self._call)
        receiver = asyncio.create_task(self._upload.receive(self._bulk.read), name=f"arguments of call {self._call.call_id}")
        try:
            await (self._answer() if self._stream is None else pass_down(self._stream, self._bulk.write, self._bulk.write_piece))
        finally:
            for stream in (self._stream, self._call.sink):
                if isinstance(stream, Stream):
                    stream.abandon()
            self._flow.calls.cancel(self._call)
            receiver.cancel()
            with contextlib.suppress(asyncio.CancelledError, LaneBroken):
                await receiver

    async def _answer(self) -> None:
        result = await self._until_result()
        await self._bulk.write(link_pb2.ToClient(result=result).SerializeToString())
        if result.HasField("pieces"):
            await pass_down(self._flow.transfers.sink(self._call), self._bulk.write, self._bulk.write_piece)

    async def _until_result(self) -> link_pb2.Result:
        """What the tool says on the way goes to the caller, in order."""
        while True:
            self._told.clear()
            while self._progress:
                await self._bulk.write(link_pb2.ToClient(progress=self._progress.popleft()).SerializeToString())
            if self._result is not None:
                return self._result
            await self._told.wait()

    def _reply(self, _: Call, frame: link_pb2.Frame) -> None:
        if frame.WhichOneof("kind") == "progress":
            self._progress.append(frame.progress)
        elif self._result is None:
            self._result = frame.result
        self._told.set()

    async def _want(self, attempt: int) -> None:
        await self._bulk.write(link_pb2.ToClient(wanted=attempt).SerializeToString())
