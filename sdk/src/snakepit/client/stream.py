"""A streaming call at the caller's end: chunks as they arrive, over a gRPC stream of its own, whose flow control is the call's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import grpc

from snakepit.client import codec
from snakepit.client import errors as sentences
from snakepit.client.connection import Connection, Peer, is_broken
from snakepit.errors import Draining, SnakepitError
from snakepit.link.channels import PARENT_HEADER
from snakepit.link.link import EOF
from snakepit.link.status import from_rpc_error
from snakepit.link.tracing import Span
from snakepit.v1 import router_pb2


class Stream(AsyncIterator[Any]):
    """Iterate over it to get the chunks. Leaving the loop early, or dropping it, cancels the call and stops its producer."""

    def __init__(
        self,
        connection: Connection,
        request: router_pb2.ExecuteStreamRequest,
        timeout: float | None,
        span: Span | None,
        *,
        trusted: bool = False,
    ) -> None:
        self._connection = connection
        self._request = request
        self._timeout = timeout
        self._span = span
        self._trusted = trusted
        self._call: Any = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next chunk. Raises what a unary call raises; chunks that arrived before an error have been given."""
        while not self._ended:
            message = await self._next()
            self._ended = message is None or message.last
            if message is None or message.WhichOneof("outcome") is None:
                continue
            if message.WhichOneof("outcome") == "tool_error":
                self._end("TOOL_ERROR")
                raise codec.tool_error(message.tool_error)
            return codec.decode(message.payload, trusted=self._trusted)
        self._end()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop the call if it still runs."""
        self._end("" if self._ended else "CANCELLED")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._end("" if self._ended else "CANCELLED")

    async def _next(self) -> router_pb2.ExecuteStreamResponse | None:
        """The next message, None at the end of the stream. The call itself is made by the first."""
        if self._call is not None:
            return await self._read()
        deadline = None if self._timeout is None else asyncio.get_running_loop().time() + self._timeout
        serving = self._connection.serving
        while True:
            around = serving.around() if serving is not None else None
            peer, parent = around or (await self._connection.peer(deadline), "")
            self._open(peer, parent, deadline)
            try:
                return await self._read()
            except Draining:
                self._connection.retire(peer)
                serving = None

    def _open(self, peer: Peer, parent: str, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
        metadata = self._connection.metadata()
        if self._span is not None:
            metadata = (*metadata, ("traceparent", self._span.traceparent))
        if parent:
            metadata = (*metadata, (PARENT_HEADER, parent))
        self._address = peer.replica.address
        self._call = peer.router.ExecuteStream(self._request, timeout=left, metadata=metadata)

    async def _read(self) -> router_pb2.ExecuteStreamResponse | None:
        try:
            message: Any = await self._call.read()
        except grpc.RpcError as raised:
            error = self._translate(from_rpc_error(raised))
            self._end(error.reason, done=not isinstance(error, Draining))
            raise error from None
        return None if message is EOF else message

    def _translate(self, error: SnakepitError) -> SnakepitError:
        return sentences.replica_lost(self._address, error.message) if is_broken(error) else error

    def _end(self, error: str = "", *, done: bool = True) -> None:
        """Idempotent. `done` False: the same call is made elsewhere."""
        if self._call is not None and not self._call.done():
            self._call.cancel()
        if not done:
            return
        self._ended = True
        if self._span is not None:
            self._span.end(error)
            self._span = None
