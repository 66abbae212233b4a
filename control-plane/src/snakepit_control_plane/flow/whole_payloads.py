"""A chunk of a stream with all of its payload, for a caller that takes it in one message: as large as one message may be."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from snakepit._ipc.sections import Assembler
from snakepit._wire.bulk import Cut, Piece
from snakepit.errors import Started, WorkerLost
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.flow.streams import Item, Stream, error_of
from snakepit_control_plane.policy.admission import too_large

Tell = Callable[[link_pb2.Progress], Awaitable[None]]


async def _nobody(_: link_pb2.Progress) -> None:
    """Nobody has asked for it."""


async def take_whole(stream: Stream, limit: int, tell: Tell = _nobody) -> link_pb2.Chunk:
    """The next chunk, with all of its payload; `tell` gets the progress before it.

    Raises the error that it is instead, PayloadTooLarge, and what it breaks off with.
    """
    chunk = await _take(stream, tell)
    if not isinstance(chunk, link_pb2.Chunk):
        raise WorkerLost("a piece came without its chunk", started=Started.YES, details={"how": "stream broken"})
    failure = error_of(chunk)
    if failure is not None:
        raise failure
    if chunk.HasField("pieces"):
        await _collect(chunk, stream, limit, tell)
    return chunk


async def _take(stream: Stream, tell: Tell) -> Item:
    while isinstance(item := await stream.take(), link_pb2.Progress):
        await tell(item)
    return item


async def _collect(chunk: link_pb2.Chunk, stream: Stream, limit: int, tell: Tell) -> None:
    sections = list(chunk.pieces.sections)
    if sum(sections) > limit:
        raise too_large(sum(sections), limit, "maxPayloadBytes", "result", Started.YES)
    assembler = Assembler(sections)
    try:
        await _gather(stream, assembler, tell)
        _fill(chunk.payload, assembler)
    except ValueError as error:
        message = f"the pieces of a payload don't make it up: {error}"
        raise WorkerLost(message, started=Started.YES, details={"how": "stream broken"}) from error
    chunk.ClearField("pieces")


async def _gather(stream: Stream, assembler: Assembler, tell: Tell) -> None:
    while not assembler.complete:
        item = await _take(stream, tell)
        if not isinstance(item, Piece):
            raise error_of(item) or WorkerLost("the stream broke off within a payload", details={"how": "stream broken"})
        with contextlib.suppress(Cut):  # The stream says why.
            await item.gather(assembler, stream.moved)


def _fill(skeleton: common_pb2.Payload, assembler: Assembler) -> None:
    """Give a payload its bytes."""
    data, *attached = assembler.contents()
    skeleton.data = bytes(data)
    for attachment, content in zip(skeleton.attachments, attached, strict=True):
        attachment.data = bytes(content)
