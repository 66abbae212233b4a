"""Large arguments until their agent asks for them: in the caller's hands, or, of a plain gRPC call, in its one message.

Each attempt begins anew: an agent that asks is the one that the call was sent to last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from google.protobuf.message import DecodeError

from snakepit._ipc.frames import Attachment, Payload
from snakepit._ipc.sections import LARGE_BYTES, Bytes, cut, sizes, spread, total
from snakepit._values import digests
from snakepit._wire.bulk import WRITTEN_PIECE_BYTES, Piece
from snakepit.errors import Cancelled, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.policy.admission import payload_bytes

COPIES = 4
"""Of a plain gRPC call's arguments, while it waits: the message as it came, as it was read, in its frame, and what is cut into pieces."""


class Kept:
    """Arguments that are here already, as large as one message of a plain gRPC call may be."""

    gone = False

    def __init__(self, parts: Sequence[Bytes]) -> None:
        self._parts = parts
        self.held = COPIES * sum(map(len, parts))

    async def attempt(self) -> AsyncIterator[Sequence[Bytes] | Piece]:
        for piece in cut(self._parts, WRITTEN_PIECE_BYTES):
            yield piece

    def put_down(self) -> None:
        """Nothing of it is in anybody's hands."""


def set_apart(call: link_pb2.Call, max_payload_bytes: int) -> Kept | None:
    """Take large arguments out of the frame, so that they don't hold up a link; None: they are small, or too large anyway."""
    if not LARGE_BYTES < payload_bytes(call.arguments) <= max_payload_bytes:
        return None
    arguments = call.arguments
    attachments = tuple(Attachment(a.content_type, a.data) for a in arguments.attachments)
    if call.idempotency_key:
        call.arguments_digest = digests.of_payload(arguments)
    payload = Payload(arguments.data, arguments.content_type, attachments)
    call.pieces.sections.extend(sizes(payload))
    arguments.ClearField("data")
    for each in arguments.attachments:
        each.ClearField("data")
    return Kept(spread(payload))


class Upload:
    """Arguments at a client SDK, which sends them when it is told to: at most one piece is here.

    `want(n)` tells the client to send them for the n-th time. `receive` takes what comes, in order, until the client has gone.
    """

    def __init__(self, sections: Sequence[int], want: Callable[[int], Awaitable[None]]) -> None:
        self._total = total(sections) if sections else 0
        self._want = want
        self._attempt = 0
        self._sending = 0
        self._piece: Piece | None = None
        self.gone = False
        self.held = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def attempt(self) -> AsyncIterator[Sequence[Bytes] | Piece]:
        """Raises Cancelled when the client has gone, or another attempt has begun. A Piece is to be read before the next is asked for."""
        self._attempt += 1
        mine, left = self._attempt, self._total
        self._empty()
        await self._want(mine)
        while left > 0:
            piece = await self._next(mine)
            left -= piece.size
            yield piece
            if self._piece is piece:
                self._empty()

    def put_down(self) -> None:
        """The piece that was given could not be read to its end."""
        if self._piece is not None and self._piece.left < self._piece.size:
            self._empty()

    async def receive(self, read: Callable[[], Awaitable[bytes | Piece | None]]) -> None:
        """Until the client ends its side. One piece at a time: what the agent has not taken is not read."""
        try:
            while (message := await read()) is not None:
                if isinstance(message, Piece):
                    await self._hand_over(message)
                else:
                    self._sending = link_pb2.FromClient.FromString(message).sending
        except DecodeError:
            return  # What it says is no message: nothing more of it is taken, as if it had gone.
        finally:
            self.gone = True
            self._filled.set()

    async def _hand_over(self, piece: Piece) -> None:
        """One of an attempt that nobody waits for any more is dropped."""
        if self._sending != self._attempt:
            return
        self._piece = piece
        self._filled.set()
        while self._piece is piece:
            self._emptied.clear()
            await self._emptied.wait()

    async def _next(self, mine: int) -> Piece:
        while self._piece is None:
            if self.gone or self._attempt != mine:
                raise Cancelled("the caller has gone, or sends its arguments elsewhere", started=Started.NO)
            self._filled.clear()
            await self._filled.wait()
        return self._piece

    def _empty(self) -> None:
        self._piece = None
        self._emptied.set()
