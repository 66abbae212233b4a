"""What goes on, for a person with a browser."""

from __future__ import annotations

from pathlib import Path

from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from snakepit_gateway.console import calls, overview, pool, sessions, signing_in, spec, trying
from snakepit_gateway.console.desk import Desk
from snakepit_gateway.gateway import Gateway

STATIC = Path(__file__).parent / "static"


def routes(gateway: Gateway) -> list[BaseRoute]:
    """What it answers."""
    desk = Desk(gateway)
    one = "/pools/{namespace}/{pool}"
    pages = {
        "/": ("pools.html", overview.gather),
        "/calls": ("all_calls.html", calls.everywhere),
        one: ("pool.html", pool.gather),
        f"{one}/worker": ("worker.html", pool.worker),
        f"{one}/tools": ("tools.html", pool.tools),
        f"{one}/tool": ("tool.html", trying.gather),
        f"{one}/calls": ("calls.html", calls.gather),
        f"{one}/call": ("call.html", calls.call),
        f"{one}/sessions": ("sessions.html", sessions.gather),
        f"{one}/spec": ("spec.html", spec.gather),
        f"{one}/session": ("session.html", sessions.session),
    }
    actions = {
        f"{one}/worker/drain": pool.drain,
        f"{one}/worker/recycle": pool.recycle,
        f"{one}/call/cancel": calls.cancel,
        f"{one}/session/rebind": sessions.rebind,
        f"{one}/session/delete": sessions.delete,
    }
    ask, take, leave = signing_in.pages(desk)
    return [
        *(Route(path, desk.page(template, gather)) for path, (template, gather) in pages.items()),
        *(Route(path, desk.action(act), methods=["POST"]) for path, act in actions.items()),
        Route(f"{one}/tool", trying.Trial(desk).answer, methods=["POST"]),
        Route("/sign-in", ask),
        Route("/sign-in", take, methods=["POST"]),
        Route("/sign-out", leave, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
