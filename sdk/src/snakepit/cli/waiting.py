"""`--wait`: what could not start because the pool is not ready yet is tried again, until it can or the time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from typer.core import TyperCommand

from snakepit.errors import PoolNotFound, PoolNotReady, ServerUnavailable, SnakepitError, Started

R = TypeVar("R")

USUAL_SECONDS = 120.0
PAUSE_SECONDS = 0.3

_NOT_YET = (PoolNotReady, PoolNotFound, ServerUnavailable)


async def until_ready(work: Callable[[], Awaitable[R]], seconds: float | None, tell: Callable[[SnakepitError], None]) -> R:
    """What `work` returns; None: its first try is the only one. `tell` gets what is waited for, once for each reason."""
    if seconds is None:
        return await _once(work)
    now = asyncio.get_running_loop().time
    end, told = now() + seconds, ""
    while True:
        try:
            return await work()
        except _NOT_YET as error:
            if error.started is not Started.NO or now() + PAUSE_SECONDS > end:
                error.add_note(f"waited {seconds:g} s")
                raise
            if error.reason != told:
                told = error.reason
                tell(error)
            await asyncio.sleep(PAUSE_SECONDS)


async def _once(work: Callable[[], Awaitable[R]]) -> R:
    try:
        return await work()
    except PoolNotReady as error:
        error.add_note("--wait waits until it is")
        raise


class WaitingCommand(TyperCommand):
    """A command whose `--wait` may have its seconds after it, or nothing."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]  # typer's own types are not public
        return super().parse_args(ctx, [each for i, word in enumerate(args) for each in _spelled(word, args[i + 1 : i + 2])])


def _spelled(word: str, following: list[str]) -> list[str]:
    if word != "--wait" or (following and _is_number(following[0])):
        return [word]
    return [word, str(USUAL_SECONDS)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
