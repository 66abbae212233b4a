"""`snakepit dev`: a pool on this machine, no Kubernetes. Arguments, signals and the exit status; the rest is `world`."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snakepit.errors import ServerUnavailable
from snakepit.link.dial import parse_target

if TYPE_CHECKING:
    from snakepit_control_plane.settings import Settings
    from snakepit_local.files import LocalPool

INTERRUPTED = 130


def dev(
    files: Annotated[list[Path], typer.Argument(metavar="POOL.yaml...", help="Pool files; each adapter is found beside its file.")],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where the control plane listens.")] = "127.0.0.1:7800",
    http: Annotated[str, typer.Option("--http", metavar="HOST:PORT", help="Address of /livez, /readyz and /metrics; off: none.")] = "off",
    store: Annotated[
        str, typer.Option("--store", metavar="URL", help="memory:, or a Redis: redis://host:port/0, redis+sentinel://…, redis+cluster://…")
    ] = "memory:",
    watch: Annotated[bool, typer.Option("--watch", help="Roll out the code beside a pool file whenever it changes.")] = False,
) -> None:
    """Run pools on this machine, without Kubernetes, until Ctrl-C."""
    # Imported here: the command's help must not wait for the whole control plane.
    import uvloop

    from snakepit_control_plane.server import AddressInUse
    from snakepit_control_plane.settings import Settings, check_store
    from snakepit_local.files import read_pools

    settings = Settings(
        listen=listen, http=None if http == "off" else http, store=check_store(store), linger_seconds=0.0, drain_seconds=0.0
    )
    check_free(listen)
    pools = read_pools(files, generation=int(time.time()))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        code = uvloop.run(_run(pools, settings, watch))
    except AddressInUse as error:
        raise ServerUnavailable(f"{error} (in `snakepit dev`: --listen, --http)") from error
    if code:
        raise typer.Exit(code)


async def _run(pools: Sequence[LocalPool], settings: Settings, watch: bool) -> int:
    from rich.console import Console

    from snakepit_local.report import Reporter
    from snakepit_local.world import World

    world = World(pools, settings, Reporter(Console(highlight=False)), watch=watch)
    signals: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        signals.append(number)
        (world.hurry if len(signals) > 1 else world.stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    await world.run()
    return INTERRUPTED if signals and signals[0] is signal.SIGINT else 0


def check_free(address: str) -> None:
    """Raises ServerUnavailable. gRPC would say it too, but not in one sentence."""
    host, port = parse_target(address)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            sentence = f"port {port} of {host} can't be listened on ({error.strerror}): choose another with --listen"
            raise ServerUnavailable(sentence) from error
