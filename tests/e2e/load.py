"""A caller under load, run in a pod: calls until /tmp/stop appears, and accounts for every call in lines of JSON.

Usage: load.py SERVER POOL CONCURRENCY SECONDS_PER_CALL [SESSION]

With a SESSION, each caller has one of that name and its own number. Each call writes to its state, and what was written last must be what
is there in the end.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import snakepit

STOP = Path("/tmp/stop")
LONGEST_SECONDS = 600.0
"""It stops by itself after this long, whatever happens."""

CALL_SECONDS = 60

REFUSED_SECONDS = 0.02
"""A caller that was refused doesn't try again faster than this."""


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class Account:
    """Every call ends in here exactly once."""

    def __init__(self) -> None:
        self.begun = 0
        self.ok = 0
        self.failed: Counter[str] = Counter()
        self.longest = 0.0

    async def one(self, call: Callable[[], Awaitable[object]]) -> bool:
        """Whether it ended well."""
        self.begun += 1
        at = time.monotonic()
        try:
            await call()
            self.ok += 1
        except snakepit.SnakepitError as error:
            self.failed[error.reason] += 1
            took = round(time.monotonic() - at, 3)
            told = {"reason": error.reason, "started": error.started.name, "message": str(error), "details": dict(error.details)}
            say("failed", **told, seconds=took, at=time.time())
            await asyncio.sleep(REFUSED_SECONDS)
            return False
        finally:
            self.longest = max(self.longest, time.monotonic() - at)
        return True


class Caller:
    """One call after the other."""

    def __init__(self, account: Account, pool: snakepit.Pool, seconds: float, session: str) -> None:
        self._account, self._pool, self._seconds = account, pool, seconds
        self._session = pool.session(session) if session else None
        self._written = 0
        self._kept = 0

    async def call(self) -> None:
        if self._session is None:
            await self._account.one(lambda: self._pool.call("work", {"seconds": self._seconds}, timeout=CALL_SECONDS))
            return
        self._written += 1
        if await self._account.one(lambda: self._remember(str(self._written))):
            self._kept = self._written

    async def run(self, until: float) -> None:
        while not STOP.exists() and time.monotonic() < until:  # noqa: ASYNC240  # a stat of a local file
            await self.call()
        if self._session is not None and self._kept == self._written:
            found = await self._session.call("recall", {"key": "call"}, timeout=CALL_SECONDS)
            if found["value"] != str(self._kept):
                say("stale", session=self._session.id, wrote=self._kept, found=found["value"])

    async def _remember(self, value: str) -> None:
        assert self._session is not None
        try:
            await self._session.call("remember", {"key": "call", "value": value}, timeout=CALL_SECONDS)
        except snakepit.SessionNotFound:  # the first call, or a store that has lost its memory
            await self._session.create()
            await self._session.call("remember", {"key": "call", "value": value}, timeout=CALL_SECONDS)


async def main(
    client: snakepit.Client, name: str, concurrency: int, seconds: float, session: str, kinds: Sequence[type[Caller]] = (Caller,)
) -> None:
    """Callers of these kinds in turn."""
    account = Account()
    async with client:
        pool = client.pool(name)
        made = [(kinds[number % len(kinds)], session and f"{session}-{number}") for number in range(concurrency)]
        callers = [kind(account, pool, seconds, session) for kind, session in made]
        await get_in(pool)
        await callers[0].call()
        say("started", ok=account.ok)
        until = time.monotonic() + LONGEST_SECONDS
        report = asyncio.create_task(progress(account))
        await asyncio.gather(*(each.run(until) for each in callers))
        report.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await report
    say("summary", begun=account.begun, ok=account.ok, failed=dict(account.failed), longest=round(account.longest, 3))


async def get_in(pool: snakepit.Pool) -> None:
    """A pod that has just begun is refused for a second or two, until NetworkPolicies know its address: that is no call of the account."""
    until = time.monotonic() + CALL_SECONDS
    while time.monotonic() < until:
        try:
            await pool.call("work", {"seconds": 0}, timeout=CALL_SECONDS)
        except snakepit.ServerUnavailable:
            await asyncio.sleep(REFUSED_SECONDS)
        except snakepit.SnakepitError:
            return
        else:
            return


async def progress(account: Account) -> None:
    while True:
        await asyncio.sleep(0.5)
        say("progress", ok=account.ok)


if __name__ == "__main__":
    asyncio.run(main(snakepit.Client(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), "".join(sys.argv[5:6])))
