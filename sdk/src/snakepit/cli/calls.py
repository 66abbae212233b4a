"""Commands that say what has become of calls: `calls`, and `explain` for one of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from snakepit.cli import tables
from snakepit.cli.output import Output, OutputOption, remark, show, show_rows
from snakepit.cli.reach import Reach
from snakepit.cli.target import Target, with_target
from snakepit.client import Client, views
from snakepit.errors import CallNotFound

_POOL = "namespace/name; a bare name is in the namespace of -n, else `default`. Without one: calls of every pool."


@with_target
def calls(
    target: Target,
    pool: Annotated[str | None, typer.Argument(metavar="POOL", help=_POOL)] = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="queued, running or ended.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", metavar="TOOL", help="Only of this tool.")] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="REASON", help="How it ended: OK, TOOL_ERROR, WORKER_LOST …, or a tool's exception: KeyError."),
    ] = None,
    slow: Annotated[float | None, typer.Option("--slow", metavar="SECONDS", help="Only what took longer, in all.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="COUNT", min=1, max=1000, help="At most so many.")] = 20,
    output: OutputOption = Output.table,
) -> None:
    """List calls that are open, and those that ended lately, the newest first."""

    async def ask(client: Client) -> views.CallList:
        wanted = {"state": state, "tool": tool, "reason": reason, "slower_than": slow, "limit": limit}
        asked = client.pool(target.pool(pool)) if pool else client
        return await asked.calls(**wanted)  # type: ignore[arg-type]

    reach = Reach()
    found = target.run(ask, reach)
    remark(output, reach.remark, tables.unanswered(found.missing))
    show_rows(found, tables.calls(datetime.now(UTC)), output)


@with_target
def explain(
    target: Target,
    call_id: Annotated[str, typer.Argument(metavar="CALL_ID", help="As `snakepit calls`, an error or a log line has it.")],
    pool: Annotated[str | None, typer.Argument(metavar="POOL", help="Its pool, if you know it.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Say how a call went: where it waited, where it ran, how often, and for how long."""

    async def ask(client: Client) -> views.CallInfo:
        asked = client if pool is None else client.pool(target.pool(pool))
        return await asked.call_info(call_id)

    reach = Reach()
    try:
        call = target.run(ask, reach)
    except CallNotFound as error:
        if reach.remark:
            error.add_note(reach.remark)
        raise
    remark(output, reach.remark)
    if output.is_for_people:
        show_rows(tables.call_attributes(call), tables.ATTRIBUTES, output)
        print()
        show_rows(call.events, tables.EVENTS, output)
    else:
        show(call, output)
