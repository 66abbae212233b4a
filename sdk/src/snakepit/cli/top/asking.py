"""Asks the control plane for one look at its pools."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from snakepit._tasks import ask_each
from snakepit.cli.top.look import Look, matches, row
from snakepit.client import Client
from snakepit.client.history import PoolHistory
from snakepit.client.views import PoolInfo, WorkerInfo
from snakepit.errors import SnakepitError

AT_ONCE = 16
"""Pools that are asked about at a time: of many a look takes longer."""

MOST_ASKED = 200
"""Pools whose calls are asked for: every replica answers each time."""


async def look(client: Client, only: str | None, filter: str = "", workers_of: Sequence[str] | None = None) -> Look:
    """Ask about all pools, or `only` one; and about the workers of some; None: of all. Calls are of those that the `filter` lets through.

    Raises SnakepitError where there is no answer at all.
    """
    found = [each for each in await client.pools() if only in (None, each.name)]
    meant = {each.name for each in busiest(found, filter)}
    problems = dict[str, None]()

    async def ask(info: PoolInfo) -> tuple[PoolInfo, PoolHistory | None, list[WorkerInfo]]:
        pool, history, workers = client.pool(info.name), None, list[WorkerInfo]()
        try:
            history = await pool.history() if info.name in meant else None
            workers = await pool.workers() if info.name in (meant if workers_of is None else workers_of) else []
        except SnakepitError as error:  # It has just been deleted, or its reader may not see all of it.
            problems[f"{info.name}: {error.reason}: {error.message}"] = None
        return info, history, workers

    asked = await ask_each(found, ask, at_once=AT_ONCE)
    missing = sorted({address for _, history, _ in asked if history is not None for address in history.missing})
    left = sum(matches(each.name, filter) for each in found) - len(meant)
    told = [*problems, *([f"calls of the {MOST_ASKED} busiest pools alone: filter, or name one"] if left else [])]
    return Look(datetime.now(UTC), [row(*each) for each in asked], missing, next(iter(told), ""))


def busiest(pools: Sequence[PoolInfo], filter: str) -> list[PoolInfo]:
    """Of those that the filter lets through, as many as are asked about: what has work now comes first."""
    by_work = sorted(pools, key=lambda each: (-each.busy_slots - each.queue_depth, each.name))
    return [each for each in by_work if matches(each.name, filter)][:MOST_ASKED]
