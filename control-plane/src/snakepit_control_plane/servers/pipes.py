"""LinkService.Pipe: an agent's chunks for one streaming call. Each request is answered when the caller has taken its chunks."""

from __future__ import annotations

from typing import Any, cast

import grpc

from snakepit.errors import Cancelled, StaleEpoch, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.router.calls import Call
from snakepit_control_plane.router.pools import Router
from snakepit_control_plane.servers.rpc import EOF, abort
from snakepit_control_plane.servers.streams import Stream

Context = grpc.aio.ServicerContext[Any, Any]


async def serve_pipe(router: Router, context: Context) -> None:
    """Pass on one stream until its last chunk, or until the caller has gone: then the RPC ends with CANCELLED."""
    first = cast(link_pb2.PipeRequest, await context.read())
    if first is EOF:
        return
    call = _find(router, first)
    if call is None:
        await abort(context, StaleEpoch(f"no stream {first.id} of capsule {first.capsule_incarnation} is open here"))
        return
    stream = cast(Stream, call.sink)
    stream.opened = True
    try:
        await _pass_on(first, stream, context)
    finally:
        stream.broken()
    if stream.gone:
        await abort(context, Cancelled("the caller of the stream has gone", started=Started.YES))


async def _pass_on(request: link_pb2.PipeRequest, stream: Stream, context: Context) -> None:
    while request is not EOF:
        chunks = list(request.chunks)
        if chunks and not await stream.put(chunks):
            return
        await context.write(link_pb2.PipeResponse())
        if chunks and chunks[-1].last:
            return
        request = cast(link_pb2.PipeRequest, await context.read())


def _find(router: Router, first: link_pb2.PipeRequest) -> Call | None:
    """The streaming call with that id on that capsule."""
    for capsule in router.senders:
        if capsule.incarnation == first.capsule_incarnation:
            call = capsule.inflight.get(first.id) or capsule.trailing.get(first.id)
            return call if call is not None and call.sink is not None else None
    return None
