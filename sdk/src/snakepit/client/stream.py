"""A streaming call at the caller's end: chunks as they arrive, on a bulk lane or, where there is none, of ExecuteStream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Self, TypeVar, cast

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit._ipc import frames
from snakepit._telemetry import spans
from snakepit._telemetry.span import Span
from snakepit._wire.channels import PARENT_HEADER
from snakepit._wire.dial import Uses
from snakepit._wire.status import from_cancelled, from_frame, from_rpc_error
from snakepit.client import codec, local_errors, requests
from snakepit.client.connection import Connection
from snakepit.client.exchange import Exchange, Watch, tell
from snakepit.client.peer import Peer, check_size, inlined, is_broken
from snakepit.errors import SnakepitError, Started
from snakepit.v1 import link_pb2, router_pb2, router_pb2_grpc

T = TypeVar("T")

AT_ONCE = 64
"""So many chunks are given before it is others' turn in the loop, also where more are there: thousands of small ones come together."""

Chunk = link_pb2.Chunk | router_pb2.ExecuteStreamResponse


class _OnLane:
    """Chunks on a bulk lane, several a message; the payload of a large one in pieces."""

    def __init__(self, exchange: Exchange, call: link_pb2.Call) -> None:
        self._exchange = exchange
        self._call: link_pb2.Call | None = call
        self._chunks: deque[link_pb2.Chunk] = deque()
        self._given = 0
        self.cancel = exchange.cancel

    @property
    def never_started(self) -> bool:
        return self._exchange.never_started

    async def read(self) -> Chunk | None:
        """The next chunk, None at the end. Raises SnakepitError."""
        while not self._chunks:
            if not await self._more():
                return None
        self._given += 1
        if self._given % AT_ONCE == 0:
            await asyncio.sleep(0)
        chunk = self._chunks.popleft()
        if chunk.WhichOneof("outcome") == "error":
            raise from_frame(chunk.error)
        return chunk

    async def _more(self) -> bool:
        if self._call is not None:
            await self._exchange.begin(link_pb2.FromClient(call=self._call))
            self._call = None
        message = await self._exchange.read()
        if isinstance(message, link_pb2.ToClient):
            self._chunks.extend(message.chunks)
        return message is not None

    async def value(self, chunk: Chunk, read: codec.Reading) -> Any:
        if isinstance(chunk, link_pb2.Chunk) and chunk.HasField("pieces"):
            return read(await self._exchange.payload(chunk.payload, chunk.pieces))
        return read(chunk.payload)


class _Plain:
    """Chunks of ExecuteStream. `watch` gets what comes between them."""

    never_started = False

    def __init__(self, rpc: Any, uses: Uses, watch: Watch | None) -> None:
        self._rpc, self._uses, self._watch = rpc, uses, watch
        self._over = False
        uses.begin()

    async def read(self) -> Chunk | None:
        while (message := await self._message()) is not EOF:
            if not message.HasField("progress"):
                return cast(Chunk, message)
            if self._watch is not None:
                tell(self._watch, message.progress)
        return None

    async def _message(self) -> Any:
        try:
            return await self._rpc.read()
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        except asyncio.CancelledError:
            raise from_cancelled() from None

    async def value(self, chunk: Chunk, read: codec.Reading) -> Any:
        return read(chunk.payload)

    def cancel(self) -> None:
        if not self._over:
            self._over = True
            self._uses.end()
            if not self._rpc.done():
                self._rpc.cancel()


class Stream(AsyncIterator[Any]):
    """Iterate over it to get the chunks. Leaving the loop early, or dropping it, cancels the call and stops its producer."""

    def __init__(
        self,
        connection: Connection,
        call: link_pb2.Call,
        large: frames.Payload | None,
        timeout: float | None,
        span: Span | None,
        read: codec.Reading = codec.decode,
        watch: Watch | None = None,
    ) -> None:
        self._connection = connection
        self._call = call
        self._call.stream, self._call.progress = True, watch is not None
        self._large = large
        self._timeout = timeout
        self._span = span
        self._read = read
        self._watch = watch
        self._source: _OnLane | _Plain | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"Stream({self._call.tool!r}, pool={self._call.pool!r})"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next chunk. Raises what a unary call raises; chunks that arrived before an error have been given."""
        try:
            while not self._ended:
                chunk = await self._next()
                self._ended = chunk is None or chunk.last
                if chunk is None or (kind := chunk.WhichOneof("outcome")) is None:
                    continue
                if kind == "tool_error":
                    self._end("TOOL_ERROR", Started.YES)
                    raise codec.failure(chunk, kind)
                assert self._source is not None
                return await self._of(self._source, self._source.value(chunk, self._read))
        except SnakepitError as error:
            error.call_id = self._call.call_id
            raise
        self._end()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop the call if it still runs."""
        self._end("" if self._ended else "CANCELLED", Started.MAYBE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._end("" if self._ended else "CANCELLED", Started.MAYBE)

    async def _next(self) -> Chunk | None:
        """The next chunk, None at the end of the stream. The call itself is made by the first."""
        if self._source is not None:
            self._connection.peers.check_loop()
        try:
            return await (self._begin() if self._source is None else self._of(self._source, self._source.read()))
        except SnakepitError as error:
            self._end(error.reason, error.started)
            raise
        except asyncio.CancelledError:
            self._end("CANCELLED", Started.MAYBE)  # Whoever has the exception has the stream too, which is not dropped before.
            raise

    async def _begin(self) -> Chunk | None:
        """The first chunk. Until it is here, the call may go out again."""
        now = self._connection.peers.check_loop()
        tries = self._connection.tries(None if self._timeout is None else now + self._timeout, self._span)
        while True:
            peer, nested = await self._connection.choose(self._call, tries)
            self._source = source = self._open(peer, tries.deadline)
            try:
                chunk = await source.read()
                if self._span is not None:
                    self._span.set({spans.SERVER: self._address})
                    self._span.event(spans.FIRST_CHUNK)
                return chunk
            except SnakepitError as raised:
                source.cancel()
                await self._connection.again(peer, self._call, tries, self._said(source, raised), nested=nested)

    def _open(self, peer: Peer, deadline: float | None) -> _OnLane | _Plain:
        self._address = peer.replica.address
        if self._large is not None:
            check_size(peer.replica, self._large)
        if peer.replica.bulk is not None:
            return _OnLane(self._connection.exchange(peer, self._call, deadline, self._large, self._watch), self._call)
        call = self._call if self._large is None else inlined(self._call, self._large)
        left = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
        metadata = self._connection.metadata()
        if call.traceparent:
            metadata = (*metadata, ("traceparent", call.traceparent))
        if call.parent_call_id:
            metadata = (*metadata, (PARENT_HEADER, call.parent_call_id))
        rpc = router_pb2_grpc.RouterServiceStub(peer.replica.channel).ExecuteStream
        return _Plain(rpc(requests.stream_request(call), timeout=left, metadata=metadata), peer.replica.uses, self._watch)

    async def _of(self, source: _OnLane | _Plain, reading: Coroutine[Any, Any, T]) -> T:
        """What the source gives. Raises what became of the call where its connection has gone."""
        try:
            return await reading
        except SnakepitError as raised:
            error = self._said(source, raised)
            self._end(error.reason, error.started)
            raise error from None

    def _said(self, source: _OnLane | _Plain, raised: SnakepitError) -> SnakepitError:
        if not is_broken(raised):
            return raised
        return local_errors.broken(self._address, raised.message, never_started=source.never_started)

    def _end(self, error: str = "", started: Started = Started.NO) -> None:
        """Idempotent. A forked child has only a copy of the call: it is the parent's to end."""
        if self._source is not None and not self._connection.peers.is_forked:
            self._source.cancel()
        self._ended = True
        if self._span is not None:
            self._span.end(error, str(started))
            self._span = None
