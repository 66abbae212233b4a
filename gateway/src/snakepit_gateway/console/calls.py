"""Calls: the latest by what they have in common, and one call's way through the system."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request

from snakepit.errors import InvalidArguments
from snakepit_gateway.console import picture
from snakepit_gateway.console.desk import Context, href, pool_of, said
from snakepit_gateway.console.pool import head
from snakepit_gateway.console.viewer import CANCEL, Viewer

SHOWN = 50
FILTERS = ("state", "tool", "caller", "session", "reason")


async def gather(viewer: Viewer, request: Request) -> Context:
    """What the page shows."""
    name = pool_of(request)
    chosen: dict[str, Any] = {each: said(request, each) for each in FILTERS}
    slower = said(request, "slower_than", 20)
    filters = {key: value for key, value in chosen.items() if value}
    if slower:
        filters["slower_than"] = _seconds(slower)
    top, found = await asyncio.gather(head(viewer, name), viewer.calls(name, 1.0, limit=SHOWN, **filters))
    return {**top, "calls": found, "chosen": {**chosen, "slower_than": slower}, "filtered": bool(filters), "most": SHOWN}


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
    name = pool_of(request)
    top, found, who = await asyncio.gather(head(viewer, name), viewer.call(name, said(request, "id")), viewer.who())
    may = CANCEL in top["rights"] or bool(who.subject and found.caller == who.subject)
    return {**top, "call": found, "may": may, "stages": picture.stages(found), "done": request.query_params.get("done", "")}


async def cancel(viewer: Viewer, request: Request) -> str:
    """Returns where to go on."""
    name, id_ = pool_of(request), said(request, "id")
    found = await viewer.pool(name).cancel(id_)
    viewer.changed(name)
    return href(f"/pools/{name}/call", id=id_, done="cancelled" if found else "ended")
