"""LinkService.Pipe: an agent's stream for one call. Its chunks go to the caller; large arguments go the other way.

Each message with chunks is answered when the caller has taken it, with the pieces that follow it. Messages are bytes here: those with
a piece are passed on as they are.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from snakepit._ipc.sections import PIECE_HEADER, piece_of, total
from snakepit._values.strings import quoted
from snakepit._wire.bulk import Cut, Piece
from snakepit.errors import Cancelled, InvalidArguments, SnakepitError, StaleEpoch, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authentication.gate import Claimed
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.streams import Stream
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.servers.rpc import EOF, NO_MESSAGE, abort, metadata, pass_on, readable, write

Context = grpc.aio.ServicerContext[Any, Any]

_read = readable(link_pb2.PipeRequest)

_TAKEN = link_pb2.PipeResponse().SerializeToString()


async def serve_pipe(flow: Flow, gate: Gate, context: Context) -> None:
    """Pass on one stream until its last chunk, or until the caller has gone: then the RPC ends with CANCELLED."""
    message: Any = await context.read()
    if message is EOF:
        return
    first = _read(message)
    if first is None:
        await abort(context, InvalidArguments(NO_MESSAGE))
        return
    capsule = next((each for each in flow.agents.senders if each.incarnation == first.capsule_incarnation), None)
    if capsule is not None and not await _is_admitted(gate, capsule, context):
        return
    call = capsule.inflight.get(first.id) or capsule.trailing.get(first.id) if capsule is not None else None
    if call is None:
        await abort(context, StaleEpoch(f"no call {first.id} of capsule {quoted(first.capsule_incarnation)} is open here"))
    elif first.wants_arguments:
        await _give_arguments(flow, call, context)
    else:
        opening = [message]
        del message, first  # Here they would stay for as long as the stream does.
        await _take_chunks(flow.transfers.sink(call), opening, context)


async def _give_arguments(flow: Flow, call: Call, context: Context) -> None:
    if call.source is None or call.answered:
        await abort(context, StaleEpoch(f"call {call.call_id} has no large arguments to give"))
        return
    try:
        async for message in call.source.attempt():
            await pass_on(context, message)
    except Cut as cut:
        call.source.put_down()
        await abort(context, Cancelled(str(cut), started=Started.NO))
    except Cancelled as error:
        if call.source.gone:
            flow.calls.cancel(call)
        await abort(context, error)


async def _take_chunks(stream: Stream, opening: list[bytes], context: Context) -> None:
    stream.opened = True
    try:
        await _pass_on(opening, stream, context)
    except (DecodeError, ValueError):
        await abort(context, InvalidArguments(NO_MESSAGE))
    finally:
        stream.broken()
    if stream.gone:
        await abort(context, Cancelled("the caller of the stream has gone", started=Started.YES))


async def _pass_on(opening: list[bytes], stream: Stream, context: Context) -> None:
    message: Any = opening.pop()
    items: list[Any]
    left, last = 0, False
    while message is not EOF:
        if isinstance(message, Piece):
            left -= message.size
            items = [message]
        elif message[:1] == PIECE_HEADER:
            left -= len(piece_of(message))
            items = [message]
        else:
            chunks: Any = list(link_pb2.PipeRequest.FromString(message).chunks)
            left = total(chunks[-1].pieces.sections) if chunks and chunks[-1].HasField("pieces") else 0
            last = bool(chunks) and chunks[-1].last
            items = chunks
        # Whoever waits for a slow caller holds each byte once.
        message = chunks = None
        if items and not await stream.put(items):
            return
        if left <= 0:
            await write(context, _TAKEN)
            if last:
                return
        message = await context.read()


async def _is_admitted(gate: Gate, capsule: Capsule, context: Context) -> bool:
    """Is it that capsule's agent? If not, the RPC has ended with the reason."""
    try:
        await gate.admit_agent(metadata(context), Claimed(capsule.name, capsule.pool, capsule.pod_uid))
    except SnakepitError as error:
        await abort(context, error)
        return False
    return True
