"""Requests that don't come: a peer that opens an RPC and doesn't send its message, or not all of it, is told so and let go.

grpcio waits for the message of a plain RPC by itself, for ever. So plain RPCs are served as streams, whose message is read here.
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import Any, Never

import grpc

from snakepit._wire.turns import Turns
from snakepit.errors import DeadlineExceeded, InvalidArguments, Started

LOOK_SECONDS = 1.0
"""Which are late is looked up so often, and time is counted in looks. A timer for each call would cost it ten times what a row here
does; and while this replica stands still, nobody's time passes."""

AT_ONCE = 16
"""So many are let go in one turn of the loop, then it is others' turn: each takes 50 us."""

LARGE_BYTES = 64 * 1024
"""Of larger messages one is read in a turn of the loop: each MiB of arguments is copied, and passed on, for some milliseconds."""

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]

Context = grpc.aio.ServicerContext[Any, Any]


class Arrivals:
    """RPCs whose message is awaited, the oldest first. `most_seconds`: the limit maxRequestSeconds."""

    def __init__(self, most_seconds: int) -> None:
        self._most_seconds = most_seconds
        self.turns = Turns()
        """Of large messages, which whoever reads one waits for."""
        self._looks = 0
        self._awaited: dict[asyncio.Task[Any], int] = {}
        self._late: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._awaited)

    async def read(self, context: Context) -> Any:
        """The next message, or EOF. Raises DeadlineExceeded where it isn't whole in time."""
        task = asyncio.current_task()
        assert task is not None
        self._awaited[task] = self._looks
        try:
            return await context.read()
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel():
                raise
            raise self._refusal() from None
        finally:
            del self._awaited[task]
            self._late.discard(task)

    async def run(self) -> None:
        """Let those go that are late, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._looks += 1
            for number, (task, began) in enumerate(self._overdue(), 1):
                if self._awaited.get(task) == began and task not in self._late:  # Else its message has come meanwhile.
                    self._late.add(task)
                    task.cancel()
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _overdue(self) -> list[tuple[asyncio.Task[Any], int]]:
        oldest = self._looks - self._most_seconds / LOOK_SECONDS
        return list(takewhile(lambda each: each[1] < oldest, self._awaited.items()))

    def _refusal(self) -> DeadlineExceeded:
        message = f"the request was not whole {self._most_seconds} s after it began, as maxRequestSeconds asks: send its message at once"
        details = {"limit": "maxRequestSeconds", "seconds": f"{self._most_seconds}"}
        return DeadlineExceeded(message, started=Started.NO, details=details)


async def missing() -> Never:
    """No message came where there must be one. Raises InvalidArguments."""
    # Who has gone looks the same, for a moment: grpcio cancels its handler then.
    await asyncio.sleep(0)
    raise InvalidArguments("no message came, and this method has one: send it before the end of the stream")
