"""Commands that say what has become of calls: `calls`, and `explain` for one of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from snakepit.cli import tables
from snakepit.cli.output import Output, OutputOption, show, show_rows
from snakepit.cli.target import Target, with_target
from snakepit.client import Client, views
from snakepit.errors import CallNotFound

_POOL = "namespace/name; a bare name is in the namespace of -n, else `default`. Without one: calls of every pool."


@with_target
def calls(
    target: Target,
    pool: Annotated[str | None, typer.Argument(metavar="[POOL]", help=_POOL)] = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="queued, running or ended.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", metavar="TOOL", help="Only of this tool.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="REASON", help="How it ended: OK, TOOL_ERROR, WORKER_LOST …")] = None,
    slow: Annotated[float | None, typer.Option("--slow", metavar="SECONDS", help="Only what took longer, in all.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="COUNT", min=1, max=1000, help="So many of each pool.")] = 20,
    output: OutputOption = Output.table,
) -> None:
    """List calls that are open, and those that ended lately, the newest first."""

    async def ask(client: Client) -> list[views.CallList]:
        names = [target.pool(pool)] if pool else [each.name for each in await client.pools()]
        wanted = {"state": state, "tool": tool, "reason": reason, "slower_than": slow, "limit": limit}
        return await asyncio.gather(*(client.pool(name).calls(**wanted) for name in names))  # type: ignore[arg-type]

    found = target.run(ask)
    if remark := tables.unanswered({address for each in found for address in each.missing}):
        print(remark, file=sys.stderr)
    newest_first = sorted((call for each in found for call in each), key=lambda call: call.created, reverse=True)
    show_rows(newest_first, tables.calls(datetime.now(UTC)), output)


@with_target
def explain(
    target: Target,
    call_id: Annotated[str, typer.Argument(metavar="CALL_ID", help="As `snakepit calls`, an error or a log line has it.")],
    pool: Annotated[str | None, typer.Argument(metavar="[POOL]", help="Its pool, if you know it.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Say how a call went: where it waited, where it ran, how often, and for how long."""

    async def ask(client: Client) -> views.CallInfo:
        if pool is not None:
            return await client.pool(target.pool(pool)).call_info(call_id)
        asked = [client.pool(each.name).call_info(call_id) for each in await client.pools()]
        found = await asyncio.gather(*asked, return_exceptions=True)
        if calls := [each for each in found if isinstance(each, views.CallInfo)]:
            return max(calls, key=lambda call: call.created)
        raise _other_than_absent(found) or CallNotFound(f"no pool knows of call {call_id!r}: only so many are remembered (maxCallRecords)")

    call = target.run(ask)
    if output.is_for_people:
        show_rows(tables.call_attributes(call), tables.ATTRIBUTES, output)
        print()
        show_rows(call.events, tables.EVENTS, output)
    else:
        show(call, output)


def _other_than_absent(found: Sequence[views.CallInfo | BaseException]) -> BaseException | None:
    return next((each for each in found if isinstance(each, BaseException) and not isinstance(each, CallNotFound)), None)
