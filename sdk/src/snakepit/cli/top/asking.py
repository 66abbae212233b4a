"""Asks the control plane for one look at its pools."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from snakepit.cli.top.look import Look, row
from snakepit.client import Client
from snakepit.client.history import PoolHistory
from snakepit.client.views import PoolInfo, WorkerInfo
from snakepit.errors import SnakepitError

AT_ONCE = 16
"""Pools that are asked about at a time: with a thousand of them a look takes longer, and brings nobody down."""


async def look(client: Client, only: str | None, workers_of: Sequence[str] | None) -> Look:
    """Ask about all pools, or `only` one; and about the workers of some; None: of all.

    Raises SnakepitError where there is no answer at all.
    """
    found = [each for each in await client.pools() if only in (None, each.name)]
    gate, problems = asyncio.Semaphore(AT_ONCE), dict[str, None]()

    async def ask(info: PoolInfo) -> tuple[PoolInfo, PoolHistory | None, list[WorkerInfo]]:
        pool, history, workers = client.pool(info.name), None, list[WorkerInfo]()
        async with gate:
            try:
                history = await pool.history()
                workers = await pool.workers() if workers_of is None or info.name in workers_of else []
            except SnakepitError as error:  # It has just been deleted, or its reader may not see all of it.
                problems[f"{info.name}: {error.reason}: {error.message}"] = None
        return info, history, workers

    asked = await asyncio.gather(*map(ask, found))
    missing = sorted({address for _, history, _ in asked if history is not None for address in history.missing})
    return Look(datetime.now(UTC), [row(*each) for each in asked], missing, next(iter(problems), ""))
