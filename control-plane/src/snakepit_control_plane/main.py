"""The program `snakepit-control-plane`: settings, logs, tracing, one replica, and a clean end on TERM or INT."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import logging
import os

import uvloop

from snakepit._interpreter import have_all_descriptors, leave_out_of_collections, let_the_loop_go_first, when_stopped
from snakepit._telemetry import tracing
from snakepit._telemetry.logs import configure_logging, fail
from snakepit_control_plane.server import AddressInUse, serve
from snakepit_control_plane.settings import Settings, from_environment

log = logging.getLogger(__name__)


def main() -> None:
    """Exit 0 after TERM, 1 with one sentence when it can't start."""
    try:
        configure_logging("control-plane")
        settings = from_environment(os.environ)
        let_the_loop_go_first()
        have_all_descriptors()
        uvloop.run(run(settings))
    except (AddressInUse, ValueError) as error:
        fail(str(error))
    finally:
        tracing.shutdown()


async def run(settings: Settings) -> None:
    """Serve until TERM or INT."""
    stop = asyncio.Event()
    when_stopped(stop.set)
    running = await serve(settings)
    leave_out_of_collections()
    ended = asyncio.create_task(running.wait())
    told = asyncio.create_task(stop.wait())
    await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    log.info("stopping")
    await running.stop()
    await ended


if __name__ == "__main__":
    main()
