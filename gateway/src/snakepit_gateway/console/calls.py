"""Calls: the latest by what they have in common, of one pool or of all, and one call's way through the system."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request

from snakepit.client.views import CallInfo
from snakepit.errors import InvalidArguments, SnakepitError
from snakepit_gateway.console import picture
from snakepit_gateway.console.desk import Context, Elsewhere, href, pool_of, said
from snakepit_gateway.console.pool import head, log_lines
from snakepit_gateway.console.shared import SETTLED_SECONDS
from snakepit_gateway.console.viewer import CANCEL, ENDED, Viewer

SHOWN = 50
MOST_WITHIN = 20
"""Of the calls that a call has made, so many are shown with it."""
LAST_LINES_SECONDS = 5.0
"""So long after its end, a call's lines may still come."""
FILTERS = ("state", "tool", "caller", "session", "reason")


async def gather(viewer: Viewer, request: Request) -> Context:
    """What the page of a pool's calls shows."""
    name = pool_of(request)
    wanted, filters = _wanted(request)
    top, found = await asyncio.gather(head(viewer, name), viewer.calls(name, 1.0, limit=SHOWN, **filters))
    return {**top, "calls": found, **wanted}


async def everywhere(viewer: Viewer, request: Request) -> Context:
    """What the page of all pools' calls shows. With `id`, that one call's page is meant: raises Elsewhere."""
    if id_ := said(request, "id"):
        found = await viewer.find_call(id_)
        raise Elsewhere(href(f"/pools/{found.pool}/call", id=found.id))
    wanted, filters = _wanted(request)
    return {"calls": await viewer.all_calls(limit=SHOWN, **filters), **wanted}


def _wanted(request: Request) -> tuple[Context, dict[str, Any]]:
    """What the form above the list says, for the page and for the question."""
    chosen: dict[str, Any] = {each: said(request, each) for each in FILTERS}
    slower = said(request, "slower_than", 20)
    filters = {key: value for key, value in chosen.items() if value}
    if slower:
        filters["slower_than"] = _seconds(slower)
    return {"chosen": {**chosen, "slower_than": slower}, "filtered": bool(filters), "most": SHOWN}, filters


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise InvalidArguments(f"slower than {text!r}: write seconds, like 0.5")
    return value


async def call(viewer: Viewer, request: Request) -> Context:
    """What one call's page shows."""
    name, id_ = pool_of(request), said(request, "id")
    top, found, who = await asyncio.gather(head(viewer, name), viewer.call(name, id_), viewer.who())
    made = await _made_by(viewer, found)
    may = CANCEL in top["rights"] or bool(who.subject and found.caller == who.subject)
    log = await log_lines(viewer, top, found.worker.rpartition("/")[0], id_, _lines_come_every(found, datetime.now(UTC)))
    shown = {"call": found, "made": made, "stages": picture.stages(found), **log}
    return {**top, **shown, "may": may}


def _lines_come_every(call: CallInfo, now: datetime) -> float:
    """Seconds. Some may be on their way when a call has ended; then there are no more. Pure."""
    ended = call.created + timedelta(seconds=call.total_seconds)
    return SETTLED_SECONDS if call.state == ENDED and (now - ended).total_seconds() > LAST_LINES_SECONDS else 1.0


async def _made_by(viewer: Viewer, call: CallInfo) -> list[CallInfo]:
    """Those that a call has made; where they can't be told, the rest of its page is worth having."""
    try:
        return await viewer.all_calls(SETTLED_SECONDS if call.state == ENDED else 1.0, limit=MOST_WITHIN, within=call.id)
    except SnakepitError:
        return []


async def cancel(viewer: Viewer, request: Request) -> str:
    """Returns where to go on."""
    name, id_ = pool_of(request), said(request, "id")
    found = await viewer.pool(name).cancel(id_)
    viewer.changed(name)
    return href(f"/pools/{name}/call", id=id_, done="cancelled" if found else "ended")
