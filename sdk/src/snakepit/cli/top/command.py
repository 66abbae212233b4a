"""`snakepit top`: on a terminal until somebody quits, else one look."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from snakepit._names import did_you_mean
from snakepit.cli.output import Output, OutputOption, remark, show, show_rows
from snakepit.cli.reach import Reach
from snakepit.cli.tables import WORKERS, unanswered
from snakepit.cli.target import Target, with_target
from snakepit.cli.top.asking import look
from snakepit.cli.top.look import Look
from snakepit.cli.top.state import TITLES, State
from snakepit.client import Client
from snakepit.errors import InvalidArguments, PoolNotFound

LEAST_SECONDS = 0.5

_POOL = "namespace/name of one pool; a bare name is in the namespace of -n, else `default`. Without it: all."
_SORT = f"Column to sort by: {', '.join(TITLES).lower()}."


@with_target
def top(
    target: Target,
    pool: Annotated[str | None, typer.Argument(metavar="POOL", help=_POOL)] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end, as where standard output is no terminal.")] = False,
    interval: Annotated[float, typer.Option("--interval", metavar="SECONDS", min=LEAST_SECONDS, max=3600, help="Between two looks.")] = 2.0,
    sort: Annotated[str, typer.Option("--sort", metavar="COLUMN", help=_SORT)] = "calls/s",
    only: Annotated[str, typer.Option("--filter", metavar="TEXT", help="Only pools with this in their name.")] = "",
    output: OutputOption = Output.table,
) -> None:
    """Show pools, queues, calls a second, percentiles, errors and workers as they are now. Keys are htop's; h says which."""
    if sort.upper() not in TITLES:
        raise InvalidArguments(f"--sort {sort}: there is no such column, only {', '.join(TITLES).lower()}")
    state, name = State(sort=TITLES.index(sort.upper()), filter=only), target.pool(pool) if pool else None
    reach = Reach()
    if once or not output.is_for_people or not (sys.stdin.isatty() and sys.stdout.isatty()):
        all_workers = not output.is_for_people or name is not None
        _show(target.run(lambda client: _first(client, name, only, all_workers=all_workers), reach), state, name, output)
        remark(output, reach.remark)
        return

    async def stay(client: Client) -> None:
        from snakepit.cli.top.live import Live  # Every other command begins without it.

        first = await _first(client, name, only, all_workers=False)
        await Live(client, name, "--kube" if target.kube else target.address, interval, first, state, reach).run()

    target.run(stay, reach)


async def _first(client: Client, name: str | None, filter: str, *, all_workers: bool) -> Look:
    """Raises PoolNotFound where the pool that is named isn't there."""
    found = await look(client, name, filter, None if all_workers else [])
    if name is not None and not found.pools:
        meant = did_you_mean(name, [each.name for each in await client.pools()])
        raise PoolNotFound(f"there is no pool {name}" + (f": {meant}" if meant else ""))
    return found


def _show(found: Look, state: State, name: str | None, output: Output) -> None:
    remark(output, found.problem, unanswered(found.missing))
    if not output.is_for_people:
        show(found, output)
        return
    from snakepit.cli.top.screen import table

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() and output is Output.table else None
    print("\n".join(table(found, state, width)), flush=True)
    if name is not None:
        print()
        show_rows(found.pools[0].workers, WORKERS, output)
