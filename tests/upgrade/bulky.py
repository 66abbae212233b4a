"""load.py with calls that don't fit on a link: large arguments, and results that come piece by piece.

Usage: that of load.py, without a session.
"""

import asyncio
import sys

import load

import snakepit

LARGE = bytes(2 * 1024 * 1024)
PIECES = 100


class Large(load.Caller):
    """Its arguments travel on a connection beside its link."""

    async def call(self) -> None:
        await self._account.one(self._weigh)

    async def _weigh(self) -> None:
        found = await self._pool.call("weigh", {"value": LARGE}, timeout=load.CALL_SECONDS)
        if found != len(LARGE):
            load.say("stale", wrote=len(LARGE), found=found)


class Streamed(load.Caller):
    """Its result comes in pieces, all of them, each once."""

    async def call(self) -> None:
        await self._account.one(self._count)

    async def _count(self) -> None:
        found = [each async for each in self._pool.stream("count", {"to": PIECES}, timeout=load.CALL_SECONDS)]
        if found != list(range(PIECES)):
            load.say("stale", wrote=PIECES, found=found)


if __name__ == "__main__":
    asyncio.run(load.main(snakepit.Client(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), "", (Large, Streamed)))
