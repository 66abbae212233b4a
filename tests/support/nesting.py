"""Pools of `support.asking` behind a control plane in the test's process, as a client sees them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from snakepit import Client, Pool, SnakepitError
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS

ASKING = "support.asking:Asking"


async def until_ready(pool: Pool, workers: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(SnakepitError):  # The pool is not known yet.
                if sum(each.state == "ready" for each in await pool.workers()) >= workers:
                    return
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def asking(
    server: Running, client: Client, name: str = "asking", processes: int = 2, *, also: Iterable[Running] = (), **sections: Any
) -> AsyncIterator[Pool]:
    """A pool of one capsule, which is all that it will ever have. It dials `server`, and `also` others."""
    worker = {"processes": processes, **sections.pop("worker", {})}
    pool_spec = spec(ASKING, worker=worker, **{"replicas": 1, **sections})
    async with capsule(pool_spec, server, *also, pool=f"default/{name}"):
        pool = client.pool(name)
        await until_ready(pool, 1 if worker.get("profile") == "thread" else processes)
        yield pool


THREADS = {"profile": "thread", "threads": 20}
