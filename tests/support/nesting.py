"""Pools of `support.asking` behind a control plane in the test's process, as a client sees them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from snakepit import Client, Pool
from snakepit_control_plane.server import Running
from support.capsules import capsule, ready, spec

ASKING = "support.asking:Asking"


class Hanging:
    """A client's tool that hangs until it is stopped."""

    def __init__(self) -> None:
        self.began, self.stopped = asyncio.Event(), asyncio.Event()

    async def hang(self) -> None:
        self.began.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.stopped.set()


@contextlib.asynccontextmanager
async def asking(
    server: Running, client: Client, name: str = "asking", processes: int = 2, *, also: Iterable[Running] = (), **sections: Any
) -> AsyncIterator[Pool]:
    """A pool of one capsule, which is all that it will ever have. It dials `server`, and `also` others."""
    worker = {"processes": processes, **sections.pop("worker", {})}
    pool_spec = spec(ASKING, worker=worker, **{"replicas": 1, **sections})
    async with capsule(pool_spec, server, *also, pool=f"default/{name}"):
        pool = client.pool(name)
        await ready(pool, 1 if worker.get("profile") == "thread" else processes)
        yield pool


THREADS = {"profile": "thread", "threads": 20}
