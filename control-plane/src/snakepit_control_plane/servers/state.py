"""State operations of running calls, off the agents' links: fenced by (session uid, epoch), bounded by quotas and the call's deadline."""

from __future__ import annotations

import asyncio

from snakepit._names import check_state_key
from snakepit._wire.status import to_frame
from snakepit.errors import DeadlineExceeded, InvalidArguments, PoolNotFound, SnakepitError, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import Fence
from snakepit_control_plane.store.interface import SessionQuotas, Store

_WRITES = ("set", "delete")


def quotas_of(pool: Pool) -> SessionQuotas:
    """What one session of the pool may keep."""
    session = pool.spec.session
    return SessionQuotas(session.max_keys, session.max_value_bytes, session.max_bytes)


async def answer_state(flow: Flow, store: Store, pool: str, request: link_pb2.StateRequest) -> link_pb2.StateReply:
    """Carry out one operation. The pool is the agent's own, whatever the request says."""
    reply = link_pb2.StateReply(id=request.id)
    try:
        known = flow.pools.get(pool)
        if known is None:
            raise PoolNotFound(f"pool {pool} has been deleted")
        if not (timeout := request.timeout_seconds) >= 0:
            raise InvalidArguments(f"timeout_seconds {timeout:g} of a state operation must be a positive number of seconds, or 0 for none")
        async with asyncio.timeout(timeout or None):
            await _carry_out(store, known, request, reply)
    except TimeoutError:
        started = Started.MAYBE if request.WhichOneof("operation") in _WRITES else Started.NO
        reply.error.CopyFrom(to_frame(DeadlineExceeded("the call's deadline passed before the session store answered", started=started)))
    except SnakepitError as error:
        reply.error.CopyFrom(to_frame(error))
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
            written = await store.set_state(pool.name, session, request.set.key, request.set.value, expected, quotas_of(pool), fence)
            reply.written, reply.version = written.done, written.version
        case "delete":
            reply.found = await store.delete_state(pool.name, session, request.delete.key, fence)
        case _:
            keys = await store.list_state(pool.name, session, fence)
            reply.keys.extend(each.key for each in keys)
