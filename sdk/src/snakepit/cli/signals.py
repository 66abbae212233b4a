"""A command in an event loop ends, when it is told to, as after Ctrl-C: it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from snakepit.cli import ENDING, leave

R = TypeVar("R")


def run(work: Coroutine[Any, Any, R]) -> R:
    """As `asyncio.run`. Raises SystemExit, with the status that shells have for it, when SIGTERM or SIGHUP has cancelled `work`.

    `leave` alone is not enough here: what it raises comes up wherever the program is, and in a finalizer or in a callback of gRPC's
    that is passed over.
    """
    told: list[int] = []

    async def until_told() -> R:
        with _cancelled_by_signals(told):
            return await work

    try:
        return asyncio.run(until_told())
    finally:
        if told:
            raise SystemExit(128 + told[0])


@contextlib.contextmanager
def _cancelled_by_signals(told: list[int]) -> Iterator[None]:
    """The current task, where `leave` would be called otherwise."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    ours = [number for number in ENDING if signal.getsignal(number) is leave]

    def cancel(number: int) -> None:
        told.append(number)
        if task is not None:
            task.cancel()

    for number in ours:
        loop.add_signal_handler(number, cancel, number)
    try:
        yield
    finally:
        for number in ours:
            loop.remove_signal_handler(number)
            signal.signal(number, leave)
