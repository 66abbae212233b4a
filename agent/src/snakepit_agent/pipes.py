"""The streams of streaming calls: each call's chunks on an HTTP/2 stream of its own to the replica that sent the call.

gRPC's flow control and one answer a message hold back the tool; at most the worker's credit of chunks waits here. It knows nothing of
slots: whoever owns the calls is told how many chunks were taken, and how the stream ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit.link.link import MESSAGE_BYTES
from snakepit.v1 import link_pb2, link_pb2_grpc

log = logging.getLogger(__name__)

OnTaken = Callable[[int], None]
OnEnd = Callable[[str], None]


class Pipe:
    """One stream. `on_taken(n)`: the consumer took n chunks. `on_end(why)`: over, `why` empty when the consumer has all of it."""

    def __init__(
        self, channel: grpc.aio.Channel, remote: int, capsule_incarnation: str, idle_seconds: float, on_taken: OnTaken, on_end: OnEnd
    ) -> None:
        self._stub = link_pb2_grpc.LinkServiceStub(channel)
        self._first = link_pb2.PipeRequest(id=remote, capsule_incarnation=capsule_incarnation)
        self._idle_seconds = idle_seconds
        self._on_taken = on_taken
        self._on_end = on_end
        self._queue: deque[link_pb2.Chunk] = deque()
        self._written: deque[int] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self.task = asyncio.create_task(self._run(), name=f"pipe of call {remote}")

    def push(self, chunk: link_pb2.Chunk) -> None:
        """Queue a chunk; the one marked last ends the stream."""
        self._queue.append(chunk)
        self._ended = self._ended or chunk.last
        self._wake.set()

    def abort(self) -> None:
        """Nobody wants the rest."""
        self.task.cancel()

    async def _run(self) -> None:
        why = "aborted"
        try:
            why = await self._carry()
        except TimeoutError:
            why = f"the consumer took nothing for {self._idle_seconds:g} s"
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            why = f"the stream broke: {_reason(error)}"
        finally:
            self._on_end(why)

    async def _carry(self) -> str:
        call = self._stub.Pipe()
        reader = asyncio.create_task(self._read(call))
        try:
            while not self._ended or self._queue:
                if await self._next(reader):
                    return "the consumer ended the stream"
                await call.write(self._message())
            await call.done_writing()
            async with asyncio.timeout(self._idle_seconds):
                await reader
                code = await call.code()
            return "" if code is grpc.StatusCode.OK else f"{code.name}: {await call.details()}"
        finally:
            call.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _next(self, reader: asyncio.Task[None]) -> bool:
        """Wait for something to write; True when the consumer has ended the stream instead."""
        while not self._queue:
            self._wake.clear()
            waiter = asyncio.create_task(self._wake.wait())
            await asyncio.wait((waiter, reader), return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if reader.done():
                break
        if reader.done():
            reader.result()
            return True
        return False

    def _message(self) -> link_pb2.PipeRequest:
        request, self._first = self._first, link_pb2.PipeRequest()
        size = 0
        while self._queue and (not size or size + self._queue[0].ByteSize() <= MESSAGE_BYTES):
            size += self._queue[0].ByteSize()
            request.chunks.append(self._queue.popleft())
        self._written.append(len(request.chunks))
        return request

    async def _read(self, call: grpc.aio.StreamStreamCall[link_pb2.PipeRequest, link_pb2.PipeResponse]) -> None:
        while await call.read() is not EOF:
            with contextlib.suppress(IndexError):  # More answers than messages: nothing more to give credit for.
                self._on_taken(self._written.popleft())


def _reason(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return str(details() if callable(details) else error)
