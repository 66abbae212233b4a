"""One pool: its workers as a living picture, who waits, what ended; its tools; one worker; and what may be done with that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request

from snakepit.client.findings import causes, of_pool
from snakepit.client.views import CallInfo, LogLines, WorkerInfo
from snakepit.errors import InvalidArguments, PermissionDenied, SnakepitError
from snakepit_gateway.console import picture
from snakepit_gateway.console.desk import Context, draw, href, pool_of, said
from snakepit_gateway.console.live import Part
from snakepit_gateway.console.overview import history_of, paged, wrong
from snakepit_gateway.console.viewer import READ_LOGS, Viewer

CAPSULES_A_PAGE = 40
DENSE_FROM = 64
"""With so many workers, each is a small square."""
SHOWN_LINES = 60
_MOST_CALLS = 500
_SHOWN = {"all": "all", "trouble": "trouble", "busy": "busy"}


async def head(viewer: Viewer, name: str) -> Context:
    """What every page of a pool has."""
    info, rights = await asyncio.gather(viewer.info(name), viewer.rights(name))
    return {"pool_name": name, "base": f"/pools/{name}", "info": info, "wrong": wrong(info), "rights": rights}


async def calls(viewer: Viewer, name: str, **filters: Any) -> list[CallInfo]:
    """Those that wait, or run, or are a session's; of somebody who may not list all, their own; of somebody who may not call, none."""
    try:
        return await viewer.calls(name, 0.4, **{"limit": _MOST_CALLS, **filters})
    except PermissionDenied:
        return []


async def log_lines(viewer: Viewer, top: Context, of: str, call_id: str = "", every: float = 1.0) -> Context:
    """What `ui.log` shows: of a worker, of a capsule, or of a call on it; `log` None: its reader may not see it. `every`: seconds."""
    if READ_LOGS not in top["rights"]:
        return {"log": None}
    if not of:
        return {"log": LogLines()}
    try:
        return {"log": await viewer.log_lines(top["pool_name"], of, call_id, SHOWN_LINES, every)}
    except SnakepitError as error:
        found = LogLines()
        found.problem = error.message
        return {"log": found}


async def gather(viewer: Viewer, request: Request) -> Context:
    """What the page shows."""
    name = pool_of(request)
    (top, workers, history), (running, waiting) = await asyncio.gather(
        asyncio.gather(head(viewer, name), viewer.workers(name), history_of(viewer, name, 2.0)),
        asyncio.gather(calls(viewer, name, state="running"), calls(viewer, name, state="queued")),
    )
    show = _SHOWN.get(request.query_params.get("show", ""), "all")
    capsules = picture.capsules([each for each in workers if _wanted(each, show)], running)
    shown, pages = paged(request, capsules, CAPSULES_A_PAGE)
    dense = len(workers) >= DENSE_FROM
    boxes = tuple(_box(top["base"], each, dense) for each in shown)
    now = datetime.now(UTC)
    return {
        **top,
        "boxes": boxes,
        "children": {"workers": (f"{show} {pages['page']} {len(capsules)} " + " ".join(each.id for each in boxes), boxes)},
        "dense": dense,
        "show": show,
        **pages,
        "counts": counts(workers),
        "nodes": picture.nodes(workers),
        "restarted": picture.restarted(workers),
        "findings": [each for each in of_pool(top["info"], workers) if each.about != name and each.severity == "error"],
        "causes": list(causes(workers)),
        "queue": picture.queue(waiting),
        "history": history,
        "spark": picture.spark(history.minutes if history else [], now),
        "series": msgspec.json.encode(picture.series(history.minutes if history else [], now)).decode(),
    }


def _wanted(worker: WorkerInfo, show: str) -> bool:
    kind, _ = picture.kind_of(worker)
    return show == "all" or (kind == "busy" if show == "busy" else kind in ("bad", "warn", "off"))


def _box(base: str, capsule: picture.Capsule, dense: bool) -> Part:
    id_ = picture.element_id("c-", capsule.name)
    return Part(id_, draw("capsule", capsule, id_, base, dense))


def counts(workers: Iterable[WorkerInfo]) -> dict[str, int]:
    """So many workers of each kind, in the words that the picture's legend has."""
    found = dict.fromkeys(("idle", "busy", "starting", "draining", "silent", "can't start", "lost", "stopped"), 0)
    for each in workers:
        found[picture.kind_of(each)[1]] += 1
    return found


# ---- one worker


async def worker(viewer: Viewer, request: Request) -> Context:
    """What a worker's page shows."""
    name, id_ = pool_of(request), said(request, "id")
    top, workers, running = await asyncio.gather(head(viewer, name), viewer.workers(name), calls(viewer, name, state="running"))
    found = next((each for each in workers if each.id == id_), None)
    mine = [each for each in running if found is not None and each.incarnation == found.incarnation]
    word = picture.kind_of(found) if found is not None else ("off", "gone")
    whole = request.query_params.get("log") == "capsule"
    log = await log_lines(viewer, top, id_.rpartition("/")[0] if whole else id_)
    shown = {"worker": found, "kind": word[0], "word": word[1], "running": mine, "whole": whole, **log}
    return {**top, "id": id_, **shown}


async def drain(viewer: Viewer, request: Request) -> str:
    """Returns where to go on."""
    return await _maintain(viewer, request, "drained")


async def recycle(viewer: Viewer, request: Request) -> str:
    """Returns where to go on."""
    return await _maintain(viewer, request, "recycled")


async def _maintain(viewer: Viewer, request: Request, how: str) -> str:
    name, id_ = pool_of(request), said(request, "id")
    if not id_:
        raise InvalidArguments("which worker? id is missing")
    pool = viewer.pool(name)
    await (pool.drain_worker(id_) if how == "drained" else pool.recycle_worker(id_))
    viewer.changed(name)
    return href(f"/pools/{name}/worker", id=id_, done=how)


# ---- tools


async def tools(viewer: Viewer, request: Request) -> Context:
    """What the page of a pool's tools shows."""
    name = pool_of(request)
    top, found = await asyncio.gather(head(viewer, name), viewer.tools(name))
    return {**top, "tools": found}
