"""What an agent's bulk lanes carry: a call's chunks, or its large result, on to the caller; large arguments the other way.

Each message with chunks is answered when the caller has taken it, and the pieces that follow it.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from snakepit._wire.bulk import Cut, Piece
from snakepit.errors import Cancelled, InvalidArguments, StaleEpoch, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.streams import Item, Stream
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.servers.bulk import BulkCall
from snakepit_control_plane.servers.rpc import NO_MESSAGE, readable

_read = readable(link_pb2.FromAgent)


async def serve_agent(flow: Flow, capsule: Capsule, bulk: BulkCall) -> None:
    """Pass on one stream until its last chunk. Raises SnakepitError: CANCELLED when the caller has gone."""
    message = await bulk.read()
    first = _read(message) if isinstance(message, bytes) else None
    if first is None:
        raise InvalidArguments(NO_MESSAGE)
    call = capsule.inflight.get(first.id) or capsule.trailing.get(first.id)
    if call is None:
        raise StaleEpoch(f"no call {first.id} of capsule {capsule.name} is open here")
    if first.wants_arguments:
        await _give_arguments(flow, call, bulk)
        return
    opening = [first]
    del message, first  # Here they would stay for as long as the stream does.
    await _take_chunks(flow.transfers.sink(call), opening, bulk)


async def _give_arguments(flow: Flow, call: Call, bulk: BulkCall) -> None:
    if call.source is None or call.answered:
        raise StaleEpoch(f"call {call.call_id} has no large arguments to give")
    try:
        async for piece in call.source.attempt():
            await bulk.write_piece(piece)
    except Cut as cut:
        call.source.put_down()
        raise Cancelled(str(cut), started=Started.NO) from None
    except Cancelled:
        if call.source.gone:
            flow.calls.cancel(call)
        raise


async def _take_chunks(stream: Stream, opening: list[link_pb2.FromAgent], bulk: BulkCall) -> None:
    stream.opened = True
    try:
        await _pass_on(opening.pop(), stream, bulk)
    except (DecodeError, ValueError):
        raise InvalidArguments(NO_MESSAGE) from None
    finally:
        stream.broken()
    if stream.gone:
        raise Cancelled("the caller of the stream has gone", started=Started.YES)


async def _pass_on(message: link_pb2.FromAgent | bytes | Piece | None, stream: Stream, bulk: BulkCall) -> None:
    chunks = 0
    while message is not None:
        if isinstance(message, Piece):
            items: list[Item] = [message]
        else:
            items = list((link_pb2.FromAgent.FromString(message) if isinstance(message, bytes) else message).chunks)
            chunks = len(items)
        message = None  # Whoever waits for a slow caller holds each byte once.
        if items and not await stream.put(items):
            return
        if stream.left <= 0:
            await bulk.write(link_pb2.ToAgent(taken=chunks).SerializeToString())
            if stream.last_came:
                return
        message = await bulk.read()
