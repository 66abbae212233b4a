"""`snakepit dev`: a pool on this machine, no Kubernetes. Its arguments and what they ask for; the rest is `machine`."""

from __future__ import annotations

import atexit
import logging
import os
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snakepit.errors import InvalidArguments, ServerUnavailable

if TYPE_CHECKING:
    from snakepit_control_plane.authentication import LocalTokens
    from snakepit_control_plane.settings import Settings
    from snakepit_local.files import LocalPool
    from snakepit_local.gateway import Door

_GATEWAY = "Where console, HTTP and MCP are; off: nowhere. Default: `127.0.0.1:7880`, or another port if that is taken."
_STORE = "memory:, or a Redis: redis://host:port/0, redis+sentinel://…, redis+cluster://…"
_TOKENS = 'Ask callers for a token of this file; a line each: token,subject,uid,"groups".'
_DEBUG = "One worker, no deadlines, and its stdin and stdout are this terminal: for breakpoint()."


def dev(
    files: Annotated[list[Path], typer.Argument(metavar="POOL.yaml...", help="Pool files; each adapter is found beside its file.")],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where the control plane listens.")] = "127.0.0.1:7800",
    metrics: Annotated[str, typer.Option("--metrics", metavar="HOST:PORT", help="Address of /metrics, for Prometheus; off: none.")] = "off",
    gateway: Annotated[str | None, typer.Option("--gateway", metavar="HOST:PORT", help=_GATEWAY)] = None,
    store: Annotated[str, typer.Option("--store", metavar="URL", help=_STORE)] = "memory:",
    token_file: Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help=_TOKENS)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Replace the workers when the code beside a pool file changes.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help=_DEBUG)] = False,
) -> None:
    """Run pools on this machine, without Kubernetes, until Ctrl-C."""
    # Imported here: the command's help must not wait for the whole control plane.
    from snakepit_local.gateway import bind, open_door

    settings = _settings(listen, metrics, store, token_file)
    bind(listen, "--listen").close()  # gRPC would say it too, but not in one sentence.
    terminal = _terminal() if debug else ""
    pools = _pools(files, debug=debug)
    if code := _run(pools, settings, open_door(gateway), watch=watch, terminal=terminal):
        raise typer.Exit(code)


def _settings(listen: str, metrics: str, store: str, token_file: Path | None) -> Settings:
    """Raises InvalidArguments."""
    from snakepit_control_plane.settings import Settings, check_store

    return Settings(
        listen=listen,
        metrics=None if metrics == "off" else metrics,
        store=check_store(store),
        linger_seconds=0.0,
        drain_seconds=0.0,
        authentication=None if token_file is None else _tokens(token_file),
    )


def _pools(files: list[Path], *, debug: bool) -> list[LocalPool]:
    """Raises InvalidArguments."""
    from snakepit_local.files import for_debugging, read_pools

    pools = read_pools(files, generation=int(time.time()))
    return [for_debugging(each) for each in pools] if debug else pools


def _run(pools: list[LocalPool], settings: Settings, door: Door, *, watch: bool, terminal: str) -> int:
    """Until the end; the status of the process."""
    import uvloop

    from snakepit_control_plane.server import AddressInUse
    from snakepit_local.machine import run

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return uvloop.run(run(pools, settings, door, watch=watch, terminal=terminal))
    except AddressInUse as error:
        raise ServerUnavailable(f"{error} (in `snakepit dev`: --listen, --metrics)") from error


def _tokens(file: Path) -> LocalTokens:
    """Raises InvalidArguments."""
    from snakepit_control_plane.authentication import LocalTokens
    from snakepit_control_plane.authentication.static import StaticTokens

    try:
        StaticTokens(str(file), "--token-file").read()
    except (OSError, ValueError) as error:
        raise InvalidArguments(f"--token-file {file}: {getattr(error, 'strerror', None) or error}") from None
    return LocalTokens(str(file))


def _terminal() -> str:
    """The path of the terminal at stdin. Its settings are restored at the end: a debugger that is killed leaves its own behind."""
    try:
        settings = termios.tcgetattr(0)
        path = os.ttyname(0)
    except (OSError, termios.error):
        raise InvalidArguments("--debug needs a terminal at stdin, where the debugger can ask: start `snakepit dev` in one") from None
    atexit.register(termios.tcsetattr, 0, termios.TCSADRAIN, settings)
    return path
