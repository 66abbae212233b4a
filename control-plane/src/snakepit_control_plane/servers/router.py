"""RouterService: calls from any language. The caller's deadline is gRPC's, and so is its going away."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc

from snakepit._names import call_id
from snakepit._telemetry.propagation import carried
from snakepit._values.payloads import JSON
from snakepit._wire.channels import MOST_ATTACHMENTS
from snakepit._wire.status import from_frame
from snakepit.errors import InvalidArguments
from snakepit.v1 import common_pb2, link_pb2, router_pb2, router_pb2_grpc
from snakepit_control_plane.authentication.gate import Metadata
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.streams import Stream
from snakepit_control_plane.flow.whole_payloads import Tell, take_whole
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.shares import address_of
from snakepit_control_plane.policy.admission import (
    MOST_BESIDE_BYTES,
    SMALL_BYTES,
    payload_bytes,
    too_many_attachments,
    too_much_beside,
)
from snakepit_control_plane.servers import json_form
from snakepit_control_plane.servers.arguments import set_apart
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.rpc import (
    convert,
    full_name,
    metadata,
    parent_call_id,
    time_left,
    traceparent,
    write,
)

Request = router_pb2.ExecuteRequest | router_pb2.ExecuteStreamRequest
Context = grpc.aio.ServicerContext[Any, Any]

_AFFINITIES = frozenset(common_pb2.Affinity.values())
_PRIORITIES = frozenset(common_pb2.Priority.values())


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    def __init__(self, flow: Flow, door: Door) -> None:
        self._door = door
        self._flow = flow

    async def Execute(self, request: router_pb2.ExecuteRequest, context: Context) -> router_pb2.ExecuteResponse:  # noqa: N802
        answer: asyncio.Future[link_pb2.Result] = asyncio.get_running_loop().create_future()

        def reply(_: Call, frame: link_pb2.Frame) -> None:
            if not answer.done():
                answer.set_result(frame.result)

        sent, peer = metadata(context), str(context.peer())
        who, pool, any_session = await self._caller(request, context, sent, peer)
        with self._door.shares.call(who, address_of(peer)):
            small = request.ByteSize() <= SMALL_BYTES
            frame = await _frame(request, pool, context, sent, small=small)
            source = None if small else set_apart(frame.call, self._flow.limits.max_payload_bytes)
            call = self._flow.intake.open(frame, reply, self._flow.clock(), who=who, any_session=any_session, source=source)
            try:
                result = await answer
            finally:
                self._flow.calls.cancel(call)
        response = router_pb2.ExecuteResponse()
        response.call_id, response.worker, response.incarnation = result.call_id, result.worker, result.incarnation
        await _fill(response, request, result)
        return response

    async def ExecuteStream(self, request: router_pb2.ExecuteStreamRequest, context: Context) -> None:  # noqa: N802
        """It gives its messages as bytes: whoever waits for a slow caller holds nothing else of a chunk."""
        sent, peer = metadata(context), str(context.peer())
        who, pool, any_session = await self._caller(request, context, sent, peer)
        with self._door.shares.call(who, address_of(peer)):
            await self._stream(request, pool, context, sent, who, any_session)

    async def _stream(
        self, request: router_pb2.ExecuteStreamRequest, pool: str, context: Context, sent: Metadata, who: Caller, any_session: bool
    ) -> None:
        stream = Stream(lambda frame: self._flow.calls.answer(call, frame))
        frame = await _frame(request, pool, context, sent, small=False)
        frame.call.stream, frame.call.progress = True, request.progress
        frame.call.parent_call_id = parent_call_id(sent)
        source = set_apart(frame.call, self._flow.limits.max_payload_bytes)
        call = self._flow.intake.open(
            frame,
            stream.reply,
            self._flow.clock(),
            who=who,
            any_session=any_session,
            sink=stream,
            source=source,
        )
        stream.watch(self._flow.calls, call)
        try:
            with self._flow.calls.delivering():
                while not stream.finished:
                    await write(context, await self._next(request, call, stream, partial(_tell, context, call)))
        finally:
            stream.abandon()
            self._flow.calls.cancel(call)

    async def _caller(self, request: Request, context: Context, sent: Metadata, peer: str) -> tuple[Caller, str, bool]:
        """Which pool it calls, and whether it may use others' sessions. Raises SnakepitError where it may not call."""
        who = await self._door.caller(context, sent, peer)
        # One that isn't there is refused here: it may be there before the call is taken, and nobody would have asked.
        pool = self._flow.pools.find(full_name(request.pool)).name
        return who, pool, await self._door.may_call(who, pool, request.session_id)

    async def _next(self, request: router_pb2.ExecuteStreamRequest, call: Call, stream: Stream, tell: Tell) -> bytes:
        chunk = await take_whole(stream, self._flow.limits.max_payload_bytes, tell)
        response = router_pb2.ExecuteStreamResponse(call_id=call.call_id, index=chunk.index, last=chunk.last)
        if call.worker is not None:
            response.worker, response.incarnation = call.worker.id, call.worker.incarnation
        await _fill(response, request, chunk)
        return response.SerializeToString()


async def _tell(context: Context, call: Call, progress: link_pb2.Progress) -> None:
    said = router_pb2.StreamProgress(fraction=progress.fraction, message=progress.message)
    await write(context, router_pb2.ExecuteStreamResponse(call_id=call.call_id, progress=said).SerializeToString())


async def _frame(request: Request, pool: str, context: Context, sent: Metadata, *, small: bool) -> link_pb2.Frame:
    """Filled in place: building its parts first and copying them in takes three times as long. `small`: it has too much of nothing."""
    _check(request, small=small)
    frame = link_pb2.Frame()
    call = frame.call
    call.call_id, call.pool, call.tool = call_id(), pool, request.tool
    if session := request.session_id:
        call.session_id = session
    if key := request.idempotency_key:
        call.idempotency_key = key
    call.affinity, call.priority = request.affinity, request.priority
    call.timeout_seconds, call.traceparent = time_left(context), traceparent(sent)
    _carry(call, request, sent)
    if request.WhichOneof("arguments") == "payload":
        call.arguments.CopyFrom(request.payload)
    else:
        to_payload = partial(json_form.from_struct, request.json, same_bytes=bool(key))
        call.arguments.CopyFrom(await convert(request.json.ByteSize(), to_payload))
        call.accept = JSON
    return frame


def _check(request: Request, *, small: bool) -> None:
    """Raises InvalidArguments."""
    if not request.tool:
        raise InvalidArguments("tool is missing: name the tool to run")
    if not small and len(request.payload.attachments) > MOST_ATTACHMENTS:
        raise too_many_attachments(len(request.payload.attachments))
    affinity, priority = request.affinity, request.priority
    if affinity not in _AFFINITIES or priority not in _PRIORITIES:
        raise InvalidArguments(f"affinity {affinity} or priority {priority} is unknown: use those of snakepit.v1")


def _carry(call: link_pb2.Call, request: Request, sent: Metadata) -> None:
    """Metadata, and what headers say beside it. Raises InvalidArguments."""
    if said := request.metadata:
        if len(said) > MOST_BESIDE_BYTES // 4:
            raise too_much_beside(request.ByteSize())
        call.metadata.MergeFrom(said)
    for name, value in carried(sent, call.traceparent).items():
        if name not in said:
            call.metadata[name] = value


async def _fill(
    response: router_pb2.ExecuteResponse | router_pb2.ExecuteStreamResponse, request: Request, said: link_pb2.Result | link_pb2.Chunk
) -> None:
    """What came of the call, or of a part of it; a value in the form that was asked. Raises the error that it is instead."""
    kind = said.WhichOneof("outcome")
    if kind == "error":
        raise from_frame(said.error)
    if kind == "tool_error":
        response.tool_error.CopyFrom(said.tool_error)
    elif kind == "payload":
        payload = said.payload
        if warnings := payload.warnings:
            response.warnings.extend(warnings)
        if request.HasField("payload"):
            response.payload.CopyFrom(payload)
        else:
            response.json.CopyFrom(await convert(payload_bytes(payload), partial(json_form.to_value, payload)))
