"""Which calls somebody wants to see: asked of every replica, and put together."""

from __future__ import annotations

from typing import TypedDict

from snakepit.client import requests, views
from snakepit.client.connection import Connection
from snakepit.v1 import call_pb2


class CallFilters(TypedDict, total=False):
    """Only calls like that; None: any. `slower_than` in seconds, in all. `within`: those that a tool made while it ran that call, by its
    id."""

    state: requests.CallState | None
    tool: str | None
    caller: str | None
    session: str | None
    reason: str | None
    slower_than: float | None
    within: str | None


async def list_calls(
    connection: Connection,
    pool: str,
    limit: int,
    *,
    state: requests.CallState | None = None,
    tool: str | None = None,
    caller: str | None = None,
    session: str | None = None,
    reason: str | None = None,
    slower_than: float | None = None,
    within: str | None = None,
) -> views.CallList:
    """Calls of a pool, or (empty) of every pool, the newest first. Raises InvalidArguments, PermissionDenied."""
    request = call_pb2.ListCallsRequest(
        pool=pool,
        state=requests.call_state(state),
        tool=tool or "",
        caller=caller or "",
        session_id=session or "",
        reason=reason or "",
        slower_than_seconds=slower_than or 0.0,
        limit=limit,
        parent_call_id=within or "",
    )
    replies, missing = await connection.ask_all(request, call_pb2.ListCallsResponse)
    return views.call_list(replies, limit, missing)


async def find_call(connection: Connection, pool: str, call_id: str) -> views.CallInfo:
    """One call of a pool, or (empty) of any; of one that was sent again, the latest. Raises CallNotFound where no replica knows of it."""
    request = call_pb2.GetCallRequest(pool=pool, call_id=call_id)
    replies, _ = await connection.ask_all(request, call_pb2.GetCallResponse)
    found = [call for reply in replies for call in reply.calls]
    return views.call_info(max(found, key=lambda call: call.create_time.ToNanoseconds()))
