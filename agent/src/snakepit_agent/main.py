"""Composition: environment, logging, tracing, health, signals, and one capsule from start to drain."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import contextlib
import logging
import os
import socket

from snakepit._interpreter import leave_out_of_collections, let_the_loop_go_first, when_stopped
from snakepit._telemetry import tracing
from snakepit._telemetry.logs import configure_logging, fail
from snakepit._telemetry.metrics import otlp
from snakepit._telemetry.metrics_server import MetricsServer
from snakepit._wire.health import HealthServer
from snakepit_agent.agent import Agent
from snakepit_agent.settings import Settings, from_environment

LINGER_SECONDS = 5.0
"""After the drain: for the keeper to end, and for the last frames to reach the replicas."""

log = logging.getLogger(__name__)


async def run(settings: Settings, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> None:
    """Serve until `stop` is set, then drain and return; `hurry` shortens that. Cancelling it stops at once.

    Raises OSError: a folder or port can't be used.
    """
    changed = asyncio.Event()
    capsule = Agent(settings, changed.set)
    health = HealthServer(f"[::]:{settings.health_port}", variable="SNAKEPIT_HEALTH_PORT") if settings.health_port else None
    if health is not None:
        await health.start()
    metrics = MetricsServer(capsule.telemetry.registry.application())
    push = otlp.begin(capsule.telemetry.registry, "snakepit-agent")
    watcher = asyncio.create_task(_watch_health(capsule, health, changed), name="health")
    try:
        if settings.metrics_port:
            host = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"
            metrics.listen(f"{host}:{settings.metrics_port}", "SNAKEPIT_METRICS_PORT")
        capsule.start()
        await stop.wait()
        await _drain(capsule, hurry or asyncio.Event())
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        await capsule.stop()
        await asyncio.gather(metrics.stop(), push.stop())
        if health is not None:
            await health.stop()


async def _watch_health(capsule: Agent, health: HealthServer | None, changed: asyncio.Event) -> None:
    while health is not None:
        await changed.wait()
        changed.clear()
        await health.set_ready(capsule.is_ready)


async def _drain(capsule: Agent, hurry: asyncio.Event) -> None:
    log.info("draining: running calls have %g s", capsule.settings.spec.drain.timeout_seconds)
    capsule.drain()
    hurried = asyncio.create_task(_hurry(capsule, hurry), name="hurry")
    try:
        await capsule.finished.wait()  # Bounded by the lifecycle: TERM, then KILL.
    finally:
        hurried.cancel()
        await asyncio.gather(hurried, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            await capsule.settle()


async def _hurry(capsule: Agent, hurry: asyncio.Event) -> None:
    await hurry.wait()
    capsule.hurry()


async def _main(settings: Settings) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    when_stopped(lambda: (hurry if stop.is_set() else stop).set())
    await run(settings, stop, hurry)


def main() -> None:
    """The program `snakepit-agent`: exit code 0 after a drain, 1 with one line for each thing that is wrong."""
    import uvloop

    try:
        configure_logging("agent", pool=os.environ.get("SNAKEPIT_POOL", ""), capsule=os.environ.get("SNAKEPIT_CAPSULE", ""))
        settings = from_environment(os.environ)
    except ValueError as error:
        fail(str(error))
    tracing.configure("snakepit-agent")
    let_the_loop_go_first()
    leave_out_of_collections()
    try:
        uvloop.run(_main(settings))
    except OSError as error:
        fail(f"the agent can't start: {error}")
    finally:
        tracing.shutdown()


if __name__ == "__main__":
    main()
