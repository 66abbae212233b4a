"""`snakepit pools | workers | tools | sessions`: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from snakepit.cli.options import Output, OutputOption, PoolArgument, ServerOption, with_client
from snakepit.cli.output import show, show_rows

_POOLS = (
    "name",
    "available",
    "desired_capsules",
    "live_capsules",
    "ready_workers",
    "busy_slots",
    "total_slots",
    "queue_depth",
    "sessions",
    "reason",
)
_WORKERS = ("id", "state", "liveness", "running", "slots", "served", "restarts", "age_seconds", "incarnation", "reason", "message")
_TOOLS = ("name", "provider", "streaming", "description")
_SESSIONS = ("id", "worker", "epoch", "last_used", "expires")


def pools(server: ServerOption = None, output: OutputOption = Output.table) -> None:
    """Every pool."""
    show_rows(with_client(server, lambda client: client.pools()), _POOLS, output)


def workers(pool: PoolArgument, server: ServerOption = None, output: OutputOption = Output.table) -> None:
    """A pool's workers."""
    found = with_client(server, lambda client: client.pool(pool).workers())
    show_rows(found, _WORKERS, output)
    if output is Output.table:
        for each in [each for each in found if each.traceback]:
            typer.echo(f"\n{each.id}: {each.reason}: {each.message}\n{each.traceback}")


def tools(
    pool: PoolArgument,
    tool: Annotated[str | None, typer.Argument(metavar="[TOOL]", help="One tool, with its schema.")] = None,
    server: ServerOption = None,
    output: OutputOption = Output.table,
) -> None:
    """A pool's tools, or one of them."""
    if tool is None:
        show_rows(with_client(server, lambda client: client.pool(pool).tools()), _TOOLS, output)
    else:
        name = tool
        show(with_client(server, lambda client: client.pool(pool).tool(name)), output)


def sessions(pool: PoolArgument, server: ServerOption = None, output: OutputOption = Output.table) -> None:
    """A pool's sessions."""
    show_rows(with_client(server, lambda client: client.pool(pool).sessions()), _SESSIONS, output)
