"""RouterService: calls from any language. The caller's deadline is gRPC's, and so is its going away."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc

from snakepit._names import call_id
from snakepit._values.payloads import JSON
from snakepit._wire.channels import MOST_ATTACHMENTS
from snakepit._wire.status import from_frame
from snakepit.errors import InvalidArguments, SnakepitError
from snakepit.v1 import common_pb2, link_pb2, router_pb2, router_pb2_grpc
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authentication.gate import Metadata
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.streams import Stream
from snakepit_control_plane.flow.whole import take_whole
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.policy.admission import (
    MOST_BESIDE_BYTES,
    payload_bytes,
    too_many_attachments,
    too_much_beside,
)
from snakepit_control_plane.servers import json_form
from snakepit_control_plane.servers.arguments import set_apart
from snakepit_control_plane.servers.converting import convert
from snakepit_control_plane.servers.rpc import (
    abort,
    caller,
    check_readable,
    full_name,
    metadata,
    parent_call_id,
    readable,
    rich,
    time_left,
    traceparent,
    write,
)

Request = router_pb2.ExecuteRequest | router_pb2.ExecuteStreamRequest
Context = grpc.aio.ServicerContext[Any, Any]

_AFFINITIES = frozenset(common_pb2.Affinity.values())
_PRIORITIES = frozenset(common_pb2.Priority.values())


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    def __init__(self, flow: Flow, gate: Gate) -> None:
        self._gate = gate
        self._flow = flow

    def handlers(self) -> Any:
        """Instead of the generated ones: ExecuteStream gives its messages as bytes."""
        unary = grpc.unary_unary_rpc_method_handler(
            self.Execute,
            request_deserializer=readable(router_pb2.ExecuteRequest),
            response_serializer=router_pb2.ExecuteResponse.SerializeToString,
        )
        stream = grpc.unary_stream_rpc_method_handler(self.ExecuteStream, request_deserializer=readable(router_pb2.ExecuteStreamRequest))
        service = router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name
        return grpc.method_handlers_generic_handler(service, {"Execute": unary, "ExecuteStream": stream})

    @rich
    async def Execute(self, request: router_pb2.ExecuteRequest, context: Context) -> router_pb2.ExecuteResponse:  # noqa: N802
        check_readable(request)
        answer: asyncio.Future[link_pb2.Result] = asyncio.get_running_loop().create_future()

        def reply(_: Call, frame: link_pb2.Frame) -> None:
            if not answer.done():
                answer.set_result(frame.result)

        sent = metadata(context)
        frame, who = await _frame(request, context, sent), await caller(self._gate, context, sent)
        source = set_apart(frame.call, self._flow.limits.max_payload_bytes)
        call = self._flow.intake.open(frame, reply, self._flow.clock(), caller=who, source=source)
        try:
            result = await answer
        finally:
            self._flow.calls.cancel(call)
        return await _response(request, result)

    async def ExecuteStream(self, request: router_pb2.ExecuteStreamRequest, context: Context) -> None:  # noqa: N802
        stream = Stream(lambda frame: self._flow.calls.answer(call, frame))
        sent = metadata(context)
        try:
            check_readable(request)
            frame = await _frame(request, context, sent)
        except InvalidArguments as error:
            await abort(context, error)
            return
        frame.call.stream = True
        frame.call.parent_call_id = parent_call_id(sent)
        who, source = await caller(self._gate, context, sent), set_apart(frame.call, self._flow.limits.max_payload_bytes)
        call = self._flow.intake.open(frame, stream.reply, self._flow.clock(), caller=who, sink=stream, source=source)
        stream.watch(self._flow.calls, call)
        try:
            with self._flow.calls.delivering():
                await self._pass_down(request, call, stream, context)
        except SnakepitError as error:
            await abort(context, error)
        finally:
            stream.abandon()
            self._flow.calls.cancel(call)

    async def _pass_down(self, request: router_pb2.ExecuteStreamRequest, call: Call, stream: Stream, context: Context) -> None:
        """Raises what the stream ends with."""
        while not stream.finished:
            await write(context, await self._next(request, call, stream))

    async def _next(self, request: router_pb2.ExecuteStreamRequest, call: Call, stream: Stream) -> bytes:
        """As bytes: whoever waits for a slow caller holds nothing else of the chunk."""
        chunk = await take_whole(stream, self._flow.limits.max_payload_bytes)
        return (await _chunk(request, call, chunk)).SerializeToString()


async def _frame(request: Request, context: Context, sent: Metadata) -> link_pb2.Frame:
    """Filled in place: building its parts first and copying them in takes three times as long."""
    tool, affinity, priority = request.tool, request.affinity, request.priority
    if not tool:
        raise InvalidArguments("tool is missing: name the tool to run")
    if len(request.payload.attachments) > MOST_ATTACHMENTS:
        raise too_many_attachments(len(request.payload.attachments))
    if affinity not in _AFFINITIES or priority not in _PRIORITIES:
        raise InvalidArguments(f"affinity {affinity} or priority {priority} is unknown: use those of snakepit.v1")
    frame = link_pb2.Frame()
    call = frame.call
    call.call_id, call.pool, call.tool = call_id(), full_name(request.pool), tool
    call.session_id, call.idempotency_key = request.session_id, request.idempotency_key
    call.affinity, call.priority = affinity, priority
    call.timeout_seconds, call.traceparent = time_left(context), traceparent(sent)
    if said := request.metadata:
        if len(said) > MOST_BESIDE_BYTES // 4:
            raise too_much_beside(request.ByteSize())
        call.metadata.MergeFrom(said)
    if request.WhichOneof("arguments") == "payload":
        call.arguments.CopyFrom(request.payload)
    else:
        to_payload = partial(json_form.from_struct, request.json, same_bytes=bool(request.idempotency_key))
        call.arguments.CopyFrom(await convert(request.json.ByteSize(), to_payload))
        call.accept = JSON
    return frame


async def _response(request: router_pb2.ExecuteRequest, result: link_pb2.Result) -> router_pb2.ExecuteResponse:
    kind = result.WhichOneof("outcome")
    if kind == "error":
        raise from_frame(result.error)
    response = router_pb2.ExecuteResponse(call_id=result.call_id, worker=result.worker, incarnation=result.incarnation)
    if kind == "tool_error":
        response.tool_error.CopyFrom(result.tool_error)
    else:
        await _fill(response, request, result.payload)
    return response


async def _chunk(request: router_pb2.ExecuteStreamRequest, call: Call, chunk: link_pb2.Chunk) -> router_pb2.ExecuteStreamResponse:
    response = router_pb2.ExecuteStreamResponse(call_id=call.call_id, index=chunk.index, last=chunk.last)
    if call.worker is not None:
        response.worker, response.incarnation = call.worker.id, call.worker.incarnation
    kind = chunk.WhichOneof("outcome")
    if kind == "tool_error":
        response.tool_error.CopyFrom(chunk.tool_error)
    elif kind == "payload":
        await _fill(response, request, chunk.payload)
    return response


async def _fill(
    response: router_pb2.ExecuteResponse | router_pb2.ExecuteStreamResponse, request: Request, payload: common_pb2.Payload
) -> None:
    """The value in the form that was asked."""
    if payload.warnings:
        response.warnings.extend(payload.warnings)
    if request.WhichOneof("arguments") == "payload":
        response.payload.CopyFrom(payload)
    else:
        response.json.CopyFrom(await convert(payload_bytes(payload), partial(json_form.to_value, payload)))
