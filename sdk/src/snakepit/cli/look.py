"""`snakepit pools | workers | tools | sessions`: what there is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from snakepit.cli import columns
from snakepit.cli.findings import causes
from snakepit.cli.output import Output, OutputOption, show, show_rows
from snakepit.cli.reach import PoolArgument, Reach, reaching
from snakepit.cli.stubs import render


@reaching
def pools(reach: Reach, output: OutputOption = Output.table) -> None:
    """List every pool."""
    show_rows(reach.run(lambda client: client.pools()), columns.POOLS, output)


@reaching
def workers(reach: Reach, pool: PoolArgument, output: OutputOption = Output.table) -> None:
    """List a pool's workers, and why those that can't start can't."""
    found = reach.run(lambda client: client.pool(reach.pool(pool)).workers())
    show_rows(found, columns.WORKERS, output)
    if output.is_for_people:
        for said, traceback in causes(found):
            typer.echo(f"\n{said}\n{traceback}")


@reaching
def tools(
    reach: Reach,
    pool: PoolArgument,
    tool: Annotated[str | None, typer.Argument(metavar="[TOOL]", help="One tool, with its schema.")] = None,
    stubs: Annotated[bool, typer.Option("--stubs", help="Print Python classes for typed calls: `pool.typed(...)`.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """List a pool's tools, or show one of them. ARGUMENTS that may be left out have a question mark."""
    if stubs:
        found = reach.run(lambda client: client.pool(reach.pool(pool)).tools())
        typer.echo(render(reach.pool(pool), [each for each in found if tool in (None, each.name)]), nl=False)
    elif tool is None:
        show_rows(reach.run(lambda client: client.pool(reach.pool(pool)).tools()), columns.TOOLS, output)
    else:
        name = tool
        show(reach.run(lambda client: client.pool(reach.pool(pool)).tool(name)), output)


@reaching
def sessions(reach: Reach, pool: PoolArgument, output: OutputOption = Output.table) -> None:
    """List a pool's sessions."""
    found = reach.run(lambda client: client.pool(reach.pool(pool)).sessions())
    show_rows(found, columns.sessions(datetime.now(UTC)), output)
