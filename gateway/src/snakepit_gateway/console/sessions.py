"""Sessions: where each is bound, what it keeps, and letting go of its worker or of all of it."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from snakepit.client.views import WorkerInfo
from snakepit_gateway.console import picture
from snakepit_gateway.console.desk import Context, href, pool_of, said
from snakepit_gateway.console.overview import paged
from snakepit_gateway.console.pool import calls, head
from snakepit_gateway.console.viewer import SESSION, Viewer
from snakepit_gateway.console.words import pretty, size
from snakepit_gateway.values import jsonable

A_PAGE = 50
MOST_SHOWN_BYTES = 16_384


async def gather(viewer: Viewer, request: Request) -> Context:
    """What the page shows: those whose id, owner or worker has the text in it."""
    name, wanted = pool_of(request), said(request, "find")
    top, everyone = await asyncio.gather(head(viewer, name), viewer.sessions(name))
    found = [each for each in everyone if not wanted or wanted in each.id or wanted in each.owner or wanted in each.worker]
    found.sort(key=lambda each: each.last_used, reverse=True)
    shown, pages = paged(request, found, A_PAGE)
    return {**top, "find": wanted, "sessions": shown, "found": len(found), "all": len(everyone), **pages}


async def session(viewer: Viewer, request: Request) -> Context:
    """What one session's page shows; with `key`, that key's value."""
    name, id_, key = pool_of(request), said(request, "id"), said(request, "key", 256)
    top, who = await asyncio.gather(head(viewer, name), viewer.who())
    mine = viewer.pool(name).session(id_)
    info, versions, workers, latest = await asyncio.gather(
        viewer.shared.get((viewer.identity, name, "session", id_), 1.0, mine.info),
        viewer.shared.get((viewer.identity, name, "state", id_), 2.0, mine.state.versions),
        viewer.workers(name),
        calls(viewer, name, session=id_, limit=10),
    )
    own = bool(who.subject) and (info.group in who.groups if info.group else info.owner == who.subject)
    may = {what: own or right in top["rights"] for what, right in SESSION.items()}
    value = shown(await mine.state.get(key)) if key and may["read"] else ""
    bound = next((each for each in workers if each.id == info.worker and each.incarnation == info.incarnation), None)
    where = {"bound": bound, "word": _word(bound, info.worker), "calls": latest}
    state = {"keys": sorted(versions.items()), "key": key, "value": value}
    return {**top, "id": id_, "session": info, "may": may, **where, **state}


def shown(value: object) -> str:
    """A value as text, clipped."""
    if isinstance(value, bytes):
        return f"{size(len(value))} of bytes"
    text = pretty(jsonable(value, lambda each: f"{size(len(each.data))} of {each.content_type}"))
    return text if len(text) <= MOST_SHOWN_BYTES else text[:MOST_SHOWN_BYTES] + f"\n… {size(len(text))} in all"


def _word(bound: WorkerInfo | None, worker: str) -> str:
    if not worker:
        return "Bound to no worker: its next call chooses one"
    return f"Bound, and its worker is {picture.kind_of(bound)[1]}" if bound else "Its worker has ended: its next call is bound anew"


async def rebind(viewer: Viewer, request: Request) -> str:
    """Returns where to go on."""
    name, id_ = pool_of(request), said(request, "id")
    await viewer.pool(name).session(id_).rebind()
    viewer.changed(name)
    return href(f"/pools/{name}/session", id=id_, done="rebound")


async def delete(viewer: Viewer, request: Request) -> str:
    """Returns where to go on."""
    name, id_ = pool_of(request), said(request, "id")
    await viewer.pool(name).session(id_).delete()
    viewer.changed(name)
    return href(f"/pools/{name}/sessions", done="deleted")
