"""Callers who want more of a replica than it can do: `python -m support.busy_callers ADDRESS POOL`, until it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from snakepit import Client, SnakepitError

AT_ONCE = 25
LONGEST_SECONDS = 600.0
"""If nobody ends it."""


async def call(address: str, pool: str) -> None:
    async with Client(address) as client, asyncio.timeout(LONGEST_SECONDS), asyncio.TaskGroup() as callers:
        for _ in range(AT_ONCE):
            callers.create_task(_again(client, pool))


async def _again(client: Client, pool: str) -> None:
    """One call after the other, however they end."""
    while True:
        with contextlib.suppress(SnakepitError):
            await client.pool(pool).call("add", {"a": 1}, timeout=60)


if __name__ == "__main__":
    asyncio.run(call(*sys.argv[1:]))
