"""Reading from, and work for, somebody who may hang up: then it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from snakepit.errors import Cancelled, Started

T = TypeVar("T")

QUICK_SECONDS = 0.02
"""What is done by then isn't watched: a task for each request would cost more than it saves."""


class HungUp(Cancelled):
    """Nobody waits for the answer."""


async def whole(receive: Receive) -> bytes:
    """The body. Raises HungUp."""
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        return bytes(message.get("body", b""))
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise HungUp("the caller went away before its request was complete", started=Started.NO)


async def attended(work: Awaitable[T], receive: Receive) -> T:
    """Raises HungUp. The request's body must have been read."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    watcher: asyncio.Task[None] | None = None
    gone = False

    async def listen() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def watch() -> None:
        nonlocal watcher
        watcher = loop.create_task(listen(), name="does the caller hang up?")

    timer = loop.call_later(QUICK_SECONDS, watch)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise HungUp("the caller hung up", started=Started.MAYBE) from None
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()
