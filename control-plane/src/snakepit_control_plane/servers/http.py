"""HTTP probes and metrics: /livez (the loop turns), /readyz (calls may be sent here), /metrics (Prometheus)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from snakepit_control_plane.router.pools import Router


def application(router: Router, not_ready: Callable[[], str]) -> web.Application:
    """`not_ready` says why calls should go elsewhere; empty when they may come."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        why = not_ready()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    async def metrics(_: web.Request) -> web.Response:
        _set_gauges(router)
        return web.Response(body=router.telemetry.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


def _set_gauges(router: Router) -> None:
    """Gauges are read off the pools when somebody asks, not kept on the path of calls."""
    telemetry = router.telemetry
    telemetry.tasks.set(len(asyncio.all_tasks()))
    for gauge in (telemetry.depth, telemetry.slots, telemetry.workers, telemetry.sessions, telemetry.most_sessions):
        gauge.clear()
    for name, pool in router.pools.items():
        state = pool.describe()
        telemetry.depth.labels(name).set(state.queue_depth)
        telemetry.workers.labels(name).set(state.ready_workers)
        telemetry.slots.labels(name, "busy").set(state.busy_slots)
        telemetry.slots.labels(name, "free").set(state.total_slots - state.busy_slots)
        telemetry.sessions.labels(name).set(state.sessions)
        telemetry.most_sessions.labels(name).set(pool.spec.session.max_sessions)
