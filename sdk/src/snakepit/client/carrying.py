"""A stream of its own for one call: large arguments up when they are wanted, chunks and large results down. One for each such call.

It knows nothing of values: payloads come and go encoded. Which replica it goes to is decided by the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc

from snakepit._ipc import frames
from snakepit._ipc.sections import PIECE_HEADER, Assembler, Bytes, fill, piece_of
from snakepit._wire.bulk import CARRY, Cut, Piece
from snakepit._wire.bulk_calls import BulkCall, open_stream, release, write_payload
from snakepit._wire.dial import Replica
from snakepit._wire.link import EOF
from snakepit._wire.opening import write_first
from snakepit._wire.status import Metadata, from_cancelled, from_frame, from_rpc_error
from snakepit.errors import ServerUnavailable, SnakepitError, Started
from snakepit.v1 import common_pb2, link_pb2

Watch = Callable[[float, str], object]
"""Called with a running call's progress: a fraction from 0 to 1, and a message."""

log = logging.getLogger(__name__)


def tell(watch: Watch, progress: link_pb2.Progress) -> None:
    """What the program does with it is its own business: neither the call nor the link ends for an exception in it."""
    try:
        watch(progress.fraction, progress.message)
    except Exception:
        log.exception("on_progress raised")


class Carry:
    """`parts`: the arguments, if they are large. `watch` gets the call's Progress. Its users end it with `cancel`, however it went."""

    def __init__(
        self,
        replica: Replica,
        metadata: Metadata,
        timeout: float | None,
        parts: Sequence[Bytes] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._replica = replica
        self._in_use = False
        self._watch = watch
        self._open = partial(open_stream, replica.channel, replica.bulk, CARRY, listens=parts is None, metadata=metadata, timeout=timeout)
        self._rpc: Any = None
        # The other end may have the call; all that it has to say has come; the last chunk has, perhaps without its pieces.
        self._begun = self._complete = self._last = False
        self._parts = parts
        self._wanted = 0
        self._more = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    @property
    def has_lane(self) -> bool:
        """Does it use a connection of its own, whose end says nothing about the link's?"""
        return isinstance(self._rpc, BulkCall)

    @property
    def never_started(self) -> bool:
        """The call, or its arguments, have not left, so no tool has them."""
        return not self._begun or (self._parts is not None and not self._wanted)

    async def begin(self, first: link_pb2.CarryRequest) -> None:
        """Raises SnakepitError."""
        self._in_use = True
        self._replica.uses.begin()
        try:
            self._rpc = await self._open()
            if not self._replica.link.is_open:
                raise ServerUnavailable(f"the link to {self._replica.address} has ended")
            self._begun = not self.has_lane  # What a lane has not taken whole, nobody has read.
            await write_first(self._rpc, first.SerializeToString())
            self._begun = True
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        except asyncio.CancelledError:
            raise from_cancelled() from None
        except asyncio.InvalidStateError:
            return  # It has ended already: `read` says how.

    async def read(self) -> link_pb2.CarryResponse | memoryview | Piece | None:
        """A message, a piece, or None at the end. Raises SnakepitError."""
        try:
            while True:
                message: Any = await self._rpc.read()
                if message is EOF:
                    return None
                if isinstance(message, Piece):
                    return message
                if message[:1] == PIECE_HEADER:
                    return piece_of(message)
                response = link_pb2.CarryResponse.FromString(message)
                if response.HasField("progress"):
                    if self._watch is not None:
                        tell(self._watch, response.progress)
                elif not response.wanted:
                    self._count(response)
                    return response
                else:
                    self._want(response.wanted)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        except asyncio.CancelledError:
            raise from_cancelled() from None

    def is_last(self) -> None:
        """The payload that comes is all there is."""
        self._last = True

    async def payload(self, skeleton: common_pb2.Payload, pieces: link_pb2.Pieces) -> frames.Payload:
        """The pieces that follow, put together. Raises SnakepitError for what comes instead."""
        gathering = Assembler(pieces.sections)
        while not gathering.complete:
            message = await self.read()
            if isinstance(message, Piece):
                await self._gather(message, gathering)
            elif isinstance(message, memoryview):
                gathering.add(message)
            else:
                _raise_error(message)
        self._complete = self._last
        attachments = tuple([frames.Attachment(a.content_type, b"", a.dtype, tuple(a.shape)) for a in skeleton.attachments])
        empty = frames.Payload(b"", skeleton.content_type, attachments, tuple(skeleton.warnings))
        return fill(empty, gathering.contents())

    async def _gather(self, piece: Piece, gathering: Assembler) -> None:
        try:
            await piece.gather(gathering)
        except Cut as cut_off:
            raise from_rpc_error(cut_off.broken) from None

    def cancel(self) -> None:
        """Ends the call, if it has not ended."""
        if self._sender is not None:
            self._sender.cancel()
        if self._rpc is not None:
            if self._complete:
                release(self._rpc)
            else:
                self._rpc.cancel()
        if self._in_use:
            self._in_use = False
            self._replica.uses.end()

    def _count(self, response: link_pb2.CarryResponse) -> None:
        """Is it the last that comes?"""
        if response.HasField("result"):
            self._last, pieces = True, response.result.HasField("pieces")
        elif response.chunks:
            self._last, pieces = response.chunks[-1].last, response.chunks[-1].HasField("pieces")
        else:
            return
        self._complete = self._last and not pieces

    def _want(self, attempt: int) -> None:
        self._wanted = attempt
        self._more.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="arguments of a large call")

    async def _send(self) -> None:
        """Whenever they are wanted (again), from the first piece. A stream that has ended is told to whoever reads."""
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            while True:
                await self._more.wait()
                self._more.clear()
                await self._send_once(self._wanted)

    async def _send_once(self, attempt: int) -> None:
        await self._rpc.write(link_pb2.CarryRequest(sending=attempt).SerializeToString())
        await write_payload(self._rpc, self._parts or (), lambda: self._wanted == attempt)


def _raise_error(message: link_pb2.CarryResponse | None) -> None:
    """A chunk that is no error announces the pieces, which is known already."""
    for chunk in message.chunks if message is not None else ():
        if chunk.WhichOneof("outcome") == "error":
            raise from_frame(chunk.error)
    if message is None:
        raise SnakepitError("the stream ended before all of the result had come", started=Started.YES)


async def call(carry: Carry, frame: link_pb2.Call) -> link_pb2.Result | frames.Payload:
    """A call with large arguments, to its end. Raises SnakepitError for what gRPC says."""
    await carry.begin(link_pb2.CarryRequest(call=frame, takes_progress=frame.progress))
    message = await carry.read()
    if not isinstance(message, link_pb2.CarryResponse) or not message.HasField("result"):
        raise SnakepitError("the control plane ended the call without a result", started=Started.MAYBE)
    result = message.result
    return await carry.payload(result.payload, result.pieces) if result.HasField("pieces") else result


async def fetch(carry: Carry, result: link_pb2.Result) -> frames.Payload:
    """The large payload of a Result that came over the link."""
    await carry.begin(link_pb2.CarryRequest(fetch=result.call_id))
    carry.is_last()
    return await carry.payload(result.payload, result.pieces)
