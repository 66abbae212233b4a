"""LinkService.Carry: a client SDK's stream for one call: large arguments up, chunks and large results down.

Messages are bytes here: those with a piece are passed on as they are. Everything that ends a call is said in the stream itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from snakepit._values.strings import quoted
from snakepit._wire.bulk import Cut, Moved, Piece
from snakepit.errors import Draining, InvalidArguments, SnakepitError, StaleEpoch, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.streams import Stream
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.policy.admission import check_sections
from snakepit_control_plane.servers.arguments import Upload
from snakepit_control_plane.servers.rpc import EOF, NO_MESSAGE, abort, pass_on, readable

Context = grpc.aio.ServicerContext[Any, Any]

PROGRESS_KEPT = 16
"""Of a call whose caller doesn't read: older news are dropped."""


async def serve_carry(flow: Flow, context: Context, caller: str, is_closed: Callable[[], bool]) -> None:
    """One call, or the large result of one whose Result went over the link. `is_closed`: is nothing more taken?"""
    message: Any = await context.read()
    if message is EOF:
        return
    if is_closed():
        await abort(context, Draining("this replica stops: dial another"))
        return
    with flow.calls.delivering():
        try:
            first = _opening(message)
            del message
            if first.fetch:
                await _fetch(flow, first.fetch, context)
            else:
                carry = _Carry(flow, context, caller, first)
                del first  # The call has its own copy; here it would stay for as long as the stream does.
                await carry.run()
        except SnakepitError as error:
            await abort(context, error)


_read = readable(link_pb2.CarryRequest)


def _opening(message: bytes) -> link_pb2.CarryRequest:
    """Raises InvalidArguments."""
    first = _read(message)
    if first is None:
        raise InvalidArguments(NO_MESSAGE)
    if first.call.HasField("pieces") and (problem := check_sections(first.call.pieces.sections)) is not None:
        raise problem
    return first


async def _fetch(flow: Flow, call_id: str, context: Context) -> None:
    stream = flow.transfers.find(call_id)
    if stream is None:
        raise StaleEpoch(f"no result of call {quoted(call_id)} waits here", started=Started.YES)
    try:
        await pass_down(stream, functools.partial(pass_on, context))
    finally:
        stream.abandon()


async def pass_down(stream: Stream, send: Callable[[bytes | Piece, Moved], Awaitable[None]]) -> None:
    """Everything to the caller. A write waits for as long as the caller holds the stream; its call does not (see Stream.put)."""
    while not stream.finished:
        item = await stream.take()
        if isinstance(item, link_pb2.Chunk):
            item = link_pb2.CarryResponse(chunks=[item, *stream.take_more()]).SerializeToString()
        with contextlib.suppress(Cut):  # The stream says what has become of the rest.
            await send(item, stream.moved)


class _Carry:
    """One call from its first message to its end."""

    def __init__(self, flow: Flow, context: Context, caller: str, first: link_pb2.CarryRequest) -> None:
        frame = link_pb2.Frame(call=first.call)
        self._flow = flow
        self._context = context
        self._lock = asyncio.Lock()
        self._result: link_pb2.Result | None = None
        self._progress: deque[link_pb2.Progress] = deque(maxlen=PROGRESS_KEPT if first.takes_progress else 0)
        self._news = asyncio.Event()
        self._stream = Stream(lambda end: flow.calls.answer(self._call, end)) if frame.call.stream else None
        self._frame, self._caller = frame, caller
        self._upload = Upload(frame.call.pieces.sections, self._want)

    async def run(self) -> None:
        """Raises SnakepitError for what can't be said in the stream."""
        frame = self._frame
        if not frame.call.tool:
            raise InvalidArguments("tool is missing: name the tool to run")
        self._call = self._flow.intake.open(
            frame,
            self._stream.reply if self._stream is not None else self._reply,
            self._flow.clock(),
            caller=self._caller,
            sink=self._stream,
            source=self._upload if frame.call.HasField("pieces") else None,
            takes_pieces=True,
        )
        if self._stream is not None:
            self._stream.watch(self._flow.calls, self._call)
        receiver = asyncio.create_task(self._upload.receive(self._context.read), name=f"arguments of call {self._call.call_id}")
        try:
            await (self._answer() if self._stream is None else pass_down(self._stream, self._write))
        finally:
            for stream in (self._stream, self._call.sink):
                if isinstance(stream, Stream):
                    stream.abandon()
            self._flow.calls.cancel(self._call)
            receiver.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.RpcError):
                await receiver

    async def _answer(self) -> None:
        result = await self._until_result()
        await self._write(link_pb2.CarryResponse(result=result).SerializeToString())
        if result.HasField("pieces"):
            await pass_down(self._flow.transfers.sink(self._call), self._write)

    async def _until_result(self) -> link_pb2.Result:
        """What the tool says on the way goes to the caller, in order."""
        while True:
            self._news.clear()
            while self._progress:
                await self._write(link_pb2.CarryResponse(progress=self._progress.popleft()).SerializeToString())
            if self._result is not None:
                return self._result
            await self._news.wait()

    def _reply(self, _: Call, frame: link_pb2.Frame) -> None:
        if frame.WhichOneof("kind") == "progress":
            self._progress.append(frame.progress)
        elif self._result is None:
            self._result = frame.result
        self._news.set()

    async def _want(self, attempt: int) -> None:
        await self._write(link_pb2.CarryResponse(wanted=attempt).SerializeToString())

    async def _write(self, message: bytes | Piece, moved: Moved = lambda size: None) -> None:
        """gRPC takes one message at a time; an agent's wish may come beside an answer."""
        async with self._lock:
            await pass_on(self._context, message, moved)
