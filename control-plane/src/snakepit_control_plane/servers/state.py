"""What running calls do with their sessions' state, off the agents' links.

Operations are fenced by (session uid, epoch), and end with their call's deadline.
"""

from __future__ import annotations

import asyncio

from snakepit._names import check_state_key
from snakepit._wire.status import from_frame, to_frame
from snakepit.errors import DeadlineExceeded, InvalidArguments, SnakepitError, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow import spans
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import Fence
from snakepit_control_plane.policy.admission import pool_deleted
from snakepit_control_plane.store.interface import Store

_WRITES = ("set", "delete")


async def answer_state(flow: Flow, store: Store, pool: str, request: link_pb2.StateRequest) -> link_pb2.StateReply:
    """Carry out one operation. The pool is the agent's own, whatever the request says."""
    given = request.traceparent
    span = spans.stored(str(request.WhichOneof("operation")), pool, request.session_id, given, request.tracestate) if given else None
    reply = await _answered(flow, store, pool, request)
    if span is not None:
        span.end(*((reply.error.reason, from_frame(reply.error).started) if reply.HasField("error") else ()))
    return reply


async def _answered(flow: Flow, store: Store, pool: str, request: link_pb2.StateRequest) -> link_pb2.StateReply:
    reply = link_pb2.StateReply(id=request.id)
    known = flow.pools.get(pool)
    try:
        if known is None:
            raise pool_deleted(pool)
        if not (timeout := request.timeout_seconds) >= 0:
            raise InvalidArguments(f"timeout_seconds {timeout:g} of a state operation must be a positive number of seconds, or 0 for none")
        async with asyncio.timeout(timeout or None):
            await _carry_out(store, known, request, reply)
    except TimeoutError:
        started = Started.MAYBE if request.WhichOneof("operation") in _WRITES else Started.NO
        reply.error.CopyFrom(to_frame(DeadlineExceeded("the call's deadline passed before the session store answered", started=started)))
    except SnakepitError as error:
        reply.error.CopyFrom(to_frame(error))
    if known is not None:
        outcome = reply.error.reason if reply.HasField("error") else "OK"
        operation = request.WhichOneof("operation") or "keys"
        flow.telemetry.state_operations.add(pool, "list" if operation == "keys" else operation, outcome)
    return reply


async def _carry_out(store: Store, pool: Pool, request: link_pb2.StateRequest, reply: link_pb2.StateReply) -> None:
    session, fence = request.session_id, Fence(request.session_uid, request.session_epoch)
    match request.WhichOneof("operation"):
        case "get":
            stored = await store.get_state(pool.name, session, request.get.key, fence)
            if stored is not None:
                reply.found, reply.version = True, stored.version
                reply.value.CopyFrom(stored.value)
        case "set":
            expected = request.set.expected_version if request.set.HasField("expected_version") else None
            check_state_key(request.set.key)
            written = await store.set_state(pool.name, session, request.set.key, request.set.value, expected, pool.spec.session, fence)
            reply.written, reply.version = written.done, written.version
        case "delete":
            reply.found = await store.delete_state(pool.name, session, request.delete.key, fence)
        case _:
            keys = await store.list_state(pool.name, session, fence)
            reply.keys.extend(each.key for each in keys)
