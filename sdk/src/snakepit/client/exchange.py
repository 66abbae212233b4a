"""One call on a bulk lane: large arguments up when they are wanted, chunks and large results down.

It knows nothing of values: payloads come and go encoded. Which replica it goes to is decided by the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import grpc

from snakepit._ipc import frames
from snakepit._ipc.sections import Assembler, Bytes, fill
from snakepit._wire.bulk import Cut, Piece
from snakepit._wire.bulk_calls import BulkCall
from snakepit._wire.dial import Replica
from snakepit._wire.status import broken, from_frame, from_rpc_error
from snakepit.client.codec import Large
from snakepit.errors import SnakepitError, Started
from snakepit.v1 import common_pb2, link_pb2, router_pb2

Watch = Callable[[float, str], object]
"""Called with a running call's progress: a fraction from 0 to 1, and a message."""

log = logging.getLogger(__name__)


def tell(watch: Watch, progress: link_pb2.Progress | router_pb2.StreamProgress) -> None:
    """What the program does with it is its own business: neither the call nor the link ends for an exception in it."""
    try:
        watch(progress.fraction, progress.message)
    except Exception:
        log.exception("on_progress raised")


class Exchange:
    """To a replica with bulk lanes. `parts`: the arguments, if they are large. `watch` gets the call's Progress. `timeout` in seconds.

    Its users end it with `cancel`, however it went.
    """

    def __init__(self, replica: Replica, timeout: float | None, parts: Sequence[Bytes] | None = None, watch: Watch | None = None) -> None:
        self._replica = replica
        self._timeout = timeout
        self._in_use = False
        self._watch = watch
        self._bulk: BulkCall | None = None
        # The other end may have the call; all that it has to say has come; the last chunk has, perhaps without its pieces.
        self._begun = self._complete = self._last = False
        self._parts = parts
        self._wanted = 0
        self._more = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    @property
    def never_started(self) -> bool:
        """The call, or its arguments, have not left, so no tool has them."""
        return not self._begun or (self._parts is not None and not self._wanted)

    async def begin(self, first: link_pb2.FromClient) -> None:
        """Raises SnakepitError."""
        assert self._replica.bulk is not None
        self._in_use = True
        self._replica.uses.begin()
        try:
            self._bulk = await self._replica.bulk.open(self._timeout, listens=self._parts is None)
            if not self._replica.link.is_open:
                raise broken(f"the link to {self._replica.address} has ended")
            await self._bulk.write(first.SerializeToString())
            self._begun = True  # What a lane has not taken whole, nobody has read.
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    async def read(self) -> link_pb2.ToClient | Piece | None:
        """A message, a piece, or None at the end. Raises SnakepitError."""
        assert self._bulk is not None
        try:
            while True:
                message = await self._bulk.read()
                if message is None or isinstance(message, Piece):
                    return message
                answer = link_pb2.ToClient.FromString(message)
                if answer.HasField("progress"):
                    if self._watch is not None:
                        tell(self._watch, answer.progress)
                elif not answer.wanted:
                    self._count(answer)
                    return answer
                else:
                    self._want(answer.wanted)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def is_last(self) -> None:
        """The payload that comes is all there is."""
        self._last = True

    async def payload(self, skeleton: common_pb2.Payload, pieces: link_pb2.Pieces) -> frames.Payload:
        """The pieces that follow, put together. Raises SnakepitError for what comes instead."""
        assembler = Assembler(pieces.sections)
        while not assembler.complete:
            message = await self.read()
            if isinstance(message, Piece):
                await self._gather(message, assembler)
            else:
                _raise_error(message)
        self._complete = self._last
        attachments = tuple([frames.Attachment(a.content_type, b"", a.dtype, tuple(a.shape)) for a in skeleton.attachments])
        empty = frames.Payload(b"", skeleton.content_type, attachments, tuple(skeleton.warnings))
        return fill(empty, assembler.contents())

    async def _gather(self, piece: Piece, assembler: Assembler) -> None:
        try:
            await piece.gather(assembler)
        except Cut as cut_off:
            raise from_rpc_error(cut_off.broken) from None

    def cancel(self) -> None:
        """Ends the call, if it has not ended. Large arguments are let go of at once: whoever sends them holds whoever holds it."""
        self._parts = self._parts and ()
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        if self._bulk is not None:
            (self._bulk.release if self._complete else self._bulk.cancel)()
        if self._in_use:
            self._in_use = False
            self._replica.uses.end()

    def _count(self, answer: link_pb2.ToClient) -> None:
        """Is it the last that comes?"""
        if answer.HasField("result"):
            self._last, pieces = True, answer.result.HasField("pieces")
        elif answer.chunks:
            self._last, pieces = answer.chunks[-1].last, answer.chunks[-1].HasField("pieces")
        else:
            return
        self._complete = self._last and not pieces

    def _want(self, attempt: int) -> None:
        self._wanted = attempt
        self._more.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="arguments of a large call")

    async def _send(self) -> None:
        """Whenever they are wanted (again), from the first piece. A lane that has broken is told to whoever reads."""
        with contextlib.suppress(grpc.RpcError):
            while True:
                await self._more.wait()
                self._more.clear()
                await self._send_once(self._wanted)

    async def _send_once(self, attempt: int) -> None:
        assert self._bulk is not None
        await self._bulk.write(link_pb2.FromClient(sending=attempt).SerializeToString())
        await self._bulk.write_payload(self._parts or (), lambda: self._wanted == attempt)


def _raise_error(message: link_pb2.ToClient | None) -> None:
    """A chunk that is no error announces the pieces, which is known already."""
    for chunk in message.chunks if message is not None else ():
        if chunk.WhichOneof("outcome") == "error":
            raise from_frame(chunk.error)
    if message is None:
        raise SnakepitError("the stream ended before all of the result had come", started=Started.YES)


async def call(exchange: Exchange, frame: link_pb2.Call) -> link_pb2.Result | Large:
    """A call with large arguments, to its end. Raises SnakepitError."""
    await exchange.begin(link_pb2.FromClient(call=frame))
    message = await exchange.read()
    if not isinstance(message, link_pb2.ToClient) or not message.HasField("result"):
        raise SnakepitError("the control plane ended the call without a result", started=Started.MAYBE)
    result = message.result
    return await _large(exchange, result) if result.HasField("pieces") else result


async def fetch(exchange: Exchange, result: link_pb2.Result) -> Large:
    """The large payload of a Result that came over the link."""
    await exchange.begin(link_pb2.FromClient(fetch=result.call_id))
    exchange.is_last()
    return await _large(exchange, result)


async def _large(exchange: Exchange, result: link_pb2.Result) -> Large:
    return Large(await exchange.payload(result.payload, result.pieces), result.worker)
