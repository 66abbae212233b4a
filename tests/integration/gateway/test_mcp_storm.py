"""Many MCP clients on two gateways while workers die: no session is lost, and every failure says what it was.

Sixty clients for ten seconds in `make test`, two hundred for two minutes with `make mcp-storm`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult

import snakepit
from snakepit import Pool, SnakepitError
from support.mcp_front import NAME, front, has_workers

SECONDS = float(os.environ.get("MCP_STORM_SECONDS", "10"))
CLIENTS = int(os.environ.get("MCP_STORM_CLIENTS", "60"))
WORKERS = 4
CALLS_A_SECOND = 40
"""Of all together: clients and control planes share this process, and nobody is to be starved."""

EXPLAINED = {"WORKER_LOST", "POOL_NOT_READY", "QUEUE_TIMEOUT", "POOL_SATURATED", "DEADLINE", "REPLICA_LOST", "SERVER_UNAVAILABLE"}
"""What a call may get while workers die on a busy machine. Each says whether its tool may have run."""

pytestmark = pytest.mark.timeout(SECONDS + 240)


class Account:
    """What one client was told, and what its session must hold."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.possible: set[Any] = {None}

    async def of(self, call: Awaitable[CallToolResult], value: str | None = None) -> Any:
        """`value`: written, or None for one that was read; the result's, None where there was none."""
        try:
            result = await call
        except MCPError as failed:  # of the list that the client holds results against
            error = failed.error.data or {"reason": failed.error.message}
        else:
            error = result.meta["snakepit.dev/error"] if result.is_error and result.meta else None
        if error is None:
            self.outcomes["OK"] += 1
            return result.structured_content
        self.outcomes[error["reason"]] += 1
        assert error["reason"] in EXPLAINED, error
        if value is not None:
            self.possible |= {value}  # for all that is known
        return None

    async def write(self, client: Client, handle: str, value: str) -> None:
        if await self.of(client.call_tool("remember", {"value": value, "session": handle}), value) is not None:
            self.possible = {value}

    async def read(self, client: Client, handle: str) -> None:
        if (read := await self.of(client.call_tool("recall", {"session": handle}))) is not None:
            assert read["result"] in self.possible, f"{read} was read, {self.possible} could be there"
            self.possible = {read["result"]}


class Storm:
    """It lasts SECONDS from when every client has its session."""

    def __init__(self) -> None:
        self._opened = 0
        self.opening = asyncio.Semaphore(8)
        self.begun = asyncio.Event()
        self.until = 0.0

    async def opened(self) -> None:
        self._opened += 1
        if self._opened == CLIENTS:
            self.until = time.monotonic() + SECONDS
            self.begun.set()
        await self.begun.wait()


async def one(url: str, mode: Literal["auto", "legacy"], storm: Storm, chance: random.Random) -> Account:
    account, number, opened = Account(), 0, None
    async with contextlib.AsyncExitStack() as stack:
        async with storm.opening:
            client = await stack.enter_async_context(Client(url, mode=mode))
            while opened is None:
                opened = await account.of(client.call_tool("open_session"))
        handle = opened["session"]
        await storm.opened()
        while time.monotonic() < storm.until:
            await asyncio.sleep(chance.expovariate(CALLS_A_SECOND / CLIENTS))
            number += 1
            if chance.random() < 0.5:
                await account.write(client, handle, f"v{number}")
            else:
                await account.read(client, handle)
    return account


async def kill_workers(pool: Pool, storm: Storm, chance: random.Random, killed: list[int]) -> None:
    """One after the other, as soon as it has been healed."""
    await storm.begun.wait()
    while True:
        with contextlib.suppress(SnakepitError):
            ready = [each for each in await pool.workers() if each.state == "ready"]
            if len(ready) == WORKERS:
                killed.append(chance.choice(ready).pid)
                os.kill(killed[-1], signal.SIGKILL)
                print(f"{time.monotonic():.1f} killed worker {len(killed)}")
        await asyncio.sleep(0.5)


async def test_no_session_is_lost_and_every_failure_says_what_it_was() -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with front("support.everything:Everything", processes=WORKERS) as made, snakepit.Client(made.server) as client:
        pool = client.pool(NAME)
        await has_workers(pool, WORKERS)
        storm, killed = Storm(), list[int]()
        killing = asyncio.create_task(kill_workers(pool, storm, chance, killed))
        modes: tuple[Literal["auto", "legacy"], ...] = ("auto", "legacy")
        clients = [one(made.url, modes[number % 2], storm, random.Random(chance.random())) for number in range(CLIENTS)]
        accounts = await asyncio.gather(*clients)
        assert not killing.done()
        killing.cancel()
    outcomes = sum((each.outcomes for each in accounts), Counter[str]())
    print(f"{CLIENTS} clients, {SECONDS:g} s, {len(killed)} workers killed: {dict(outcomes)}")
    assert killed
    assert outcomes["OK"] > outcomes.total() / 2
