"""A caller under load, run in a pod: calls until /tmp/stop appears, and accounts for every call in lines of JSON.

Usage: load.py SERVER POOL CONCURRENCY SECONDS_PER_CALL [SESSION]

With a session, each call writes to its state.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from pathlib import Path

import snakepit

STOP = Path("/tmp/stop")
LONGEST_SECONDS = 300.0
"""It stops by itself after this long, whatever happens."""

REFUSED_SECONDS = 0.02
"""A caller that was refused doesn't try again faster than this."""


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class Account:
    """Every call ends in here exactly once."""

    def __init__(self, session: str = "") -> None:
        self.session = session
        self.begun = 0
        self.ok = 0
        self.failed: Counter[str] = Counter()
        self.longest = 0.0

    async def one(self, pool: snakepit.Pool, seconds: float) -> None:
        self.begun += 1
        at = time.monotonic()
        try:
            await (self._remember(pool) if self.session else pool.call("work", {"seconds": seconds}, timeout=30))
            self.ok += 1
        except snakepit.SnakepitError as error:
            self.failed[error.reason] += 1
            took = round(time.monotonic() - at, 3)
            say("failed", reason=error.reason, started=error.started.name, message=str(error), details=dict(error.details), seconds=took)
            await asyncio.sleep(REFUSED_SECONDS)
        self.longest = max(self.longest, time.monotonic() - at)

    async def _remember(self, pool: snakepit.Pool) -> None:
        session = pool.session(self.session)
        try:
            await session.call("remember", {"key": "call", "value": str(self.begun)}, timeout=30)
        except snakepit.SessionNotFound:  # the first call, or a store that has lost its memory
            await session.create()
            await session.call("remember", {"key": "call", "value": str(self.begun)}, timeout=30)


async def caller(account: Account, pool: snakepit.Pool, seconds: float, until: float) -> None:
    while not STOP.exists() and time.monotonic() < until:  # noqa: ASYNC240  # a stat of a local file
        await account.one(pool, seconds)


async def main(server: str, name: str, concurrency: int, seconds: float, session: str) -> None:
    account = Account(session)
    async with snakepit.Client(server) as client:
        pool = client.pool(name)
        await account.one(pool, 0)
        say("started", ok=account.ok)
        until = time.monotonic() + LONGEST_SECONDS
        report = asyncio.create_task(progress(account))
        await asyncio.gather(*(caller(account, pool, seconds, until) for _ in range(concurrency)))
        report.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await report
    say("summary", begun=account.begun, ok=account.ok, failed=dict(account.failed), longest=round(account.longest, 3))


async def progress(account: Account) -> None:
    while True:
        await asyncio.sleep(0.5)
        say("progress", ok=account.ok)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), "".join(sys.argv[5:6])))
