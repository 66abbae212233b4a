"""`snakepit call`: run a tool once."""

from __future__ import annotations

import enum
import sys
import warnings
from typing import Annotated, Any

import typer

from snakepit.cli.arguments import parse_arguments
from snakepit.cli.options import Output, OutputOption, PoolArgument, ServerOption, with_client
from snakepit.cli.output import show
from snakepit.client import Client, Pool, Session
from snakepit.errors import InvalidArguments, PayloadWarning, ToolError


class Priority(enum.StrEnum):
    high = "high"
    normal = "normal"
    low = "low"


def call(
    pool: PoolArgument,
    tool: Annotated[str, typer.Argument(metavar="TOOL")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value... | JSON | -]", help="Values are JSON where possible.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", metavar="ID", help="In this session; made if there is none.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print each piece as it arrives.")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Show on stderr what the tool says of its progress.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", min=0.001)] = None,
    priority: Annotated[Priority, typer.Option("--priority", help="Whose turn it is in the queue.")] = Priority.normal,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the tool's traceback when it raises.")] = False,
    server: ServerOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Run a tool, e.g. `snakepit call digits count to=3 --stream`."""
    values = parse_arguments(arguments or [])
    if stream and progress:
        raise InvalidArguments("a stream has no progress but its pieces: give --stream or --progress")
    watch = _show_progress if progress else None

    async def run(client: Client) -> None:
        target: Pool | Session = client.pool(pool)
        if session is not None:
            target = client.pool(pool).session(session)
            await target.create()
        if not stream:
            show(await target.call(tool, values, timeout=timeout, priority=priority.value, on_progress=watch), output)
            return
        async for piece in target.stream(tool, values, timeout=timeout, priority=priority.value):
            show(piece, output)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", PayloadWarning)
            warnings.showwarning = _show_warning
            with_client(server, run)
    except ToolError as error:
        if traceback:
            print(error.traceback, end="", file=sys.stderr)
        raise


def _show_progress(fraction: float, message: str) -> None:
    print(f"{fraction:4.0%} {message}".rstrip(), file=sys.stderr, flush=True)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A sentence for a person, without the line of ours that it came from."""
    print(f"warning: {message}", file=sys.stderr)
