"""`snakepit drain | recycle`: maintenance of one worker."""

from __future__ import annotations

from typing import Annotated

import typer

from snakepit._names import parse_worker
from snakepit.cli.reach import Reach, reaching
from snakepit.client import Client, Pool
from snakepit.errors import InvalidArguments

WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="capsule/index, as `snakepit workers` shows it.")]


@reaching
def drain(reach: Reach, worker: WorkerArgument) -> None:
    """Send a worker no new calls; it ends when its running calls have, and a fresh one starts in its place."""

    async def run(client: Client) -> None:
        await (await _pool_of(client, worker)).drain_worker(worker)

    reach.run(run)


@reaching
def recycle(reach: Reach, worker: WorkerArgument) -> None:
    """Replace a worker: when its successor is ready, it takes no new calls, and ends when it has finished its own."""

    async def run(client: Client) -> None:
        await (await _pool_of(client, worker)).recycle_worker(worker)

    reach.run(run)


async def _pool_of(client: Client, worker: str) -> Pool:
    """Raises InvalidArguments when no pool has the worker."""
    parse_worker(worker)
    for info in await client.pools():
        pool = client.pool(info.name)
        if any(each.id == worker for each in await pool.workers()):
            return pool
    raise InvalidArguments(f"worker {worker!r} is in no pool: `snakepit workers POOL` lists them")
