"""Calls whose answer comes bit by bit: events of a stream, or of a call that says how far it is, as SSE or NDJSON."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
from starlette.types import Send

from snakepit._ipc.frames import Payload
from snakepit.client.calls import Relayed
from snakepit.client.stream import Stream
from snakepit.errors import SnakepitError
from snakepit_gateway.http.answers import RawHeaders, as_json
from snakepit_gateway.http.served import SSE, Event
from snakepit_gateway.problems import as_json as problem_as_json

PROGRESS_KEPT = 64
PING_SECONDS = 15.0
"""So often something is said in SSE, for proxies that cut what is silent."""

Events = AsyncGenerator[tuple[Event, bytes], None]
"""With their JSON."""

Relaying = Callable[[Callable[[float, str], object]], Awaitable[Relayed]]
"""Makes the call, with what its progress is told."""


async def of_stream(stream: Stream) -> Events:
    """Each chunk when it is there, and the next is asked for when that one was taken. Raises SnakepitError."""
    count = 0
    async with stream:
        async for chunk in stream:
            payload: Payload = chunk
            for event in _warnings(payload):
                yield event
            yield Event.CHUNK, as_json(payload)
            count += 1
    yield Event.END, b'{"chunks":%d}' % count


async def of_call(relaying: Relaying) -> Events:
    """Its progress, of which whoever reads slowly sees the latest, and its result. Raises SnakepitError."""
    said: deque[dict[str, Any]] = deque(maxlen=PROGRESS_KEPT)
    news = asyncio.Event()

    def tell(fraction: float, message: str) -> None:
        said.append({"fraction": fraction, "message": message})
        news.set()

    call = asyncio.ensure_future(relaying(tell))
    call.add_done_callback(lambda _: news.set())
    try:
        while not call.done() or said:
            await news.wait()
            news.clear()
            while said:
                yield Event.PROGRESS, msgspec.json.encode(said.popleft())
        payload = (await call).payload
        for event in _warnings(payload):
            yield event
        yield Event.RESULT, as_json(payload)
    finally:
        call.cancel()


def _warnings(payload: Payload) -> Iterator[tuple[Event, bytes]]:
    return ((Event.WARNING, msgspec.json.encode(each)) for each in payload.warnings)


async def send_events(send: Send, events: Events, kind: str, headers: RawHeaders) -> None:
    """Raises SnakepitError for what fails before the answer has begun: that still has a status of its own."""
    begun = False
    line = _sse if kind == SSE else _ndjson

    async def write(text: bytes, *, more: bool = True) -> None:
        nonlocal begun
        if not begun:
            begun = True
            started = [(b"content-type", kind.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"), *headers]
            await send({"type": "http.response.start", "status": 200, "headers": started})
        await send({"type": "http.response.body", "body": text, "more_body": more})

    async def ping() -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            await write(b":\n\n")

    pinging = asyncio.create_task(ping(), name="pings of a stream") if kind == SSE else None
    try:
        async with contextlib.aclosing(events):
            async for event, data in events:
                await write(line(event, data))
    except SnakepitError as error:
        if not begun:
            raise
        await write(line(Event.ERROR, msgspec.json.encode(problem_as_json(error))))
    finally:
        if pinging is not None:
            pinging.cancel()
    await write(b"", more=False)


def _sse(event: Event, data: bytes) -> bytes:
    """JSON has no line breaks of its own but between its tokens, where a tool may have put some."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data.replace(b"\n", b" ").replace(b"\r", b" "))


def _ndjson(event: Event, data: bytes) -> bytes:
    return b'{"%s":%s}\n' % (event.encode(), data.replace(b"\n", b" ").replace(b"\r", b" "))
