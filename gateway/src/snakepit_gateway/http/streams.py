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


class Said:
    """What a tool says of its progress. Whoever reads slowly sees the latest of it."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._waiting: deque[dict[str, Any]] = deque(maxlen=PROGRESS_KEPT)

    def tell(self, fraction: float, message: str) -> None:
        """It says how far it is."""
        self._waiting.append({"fraction": fraction, "message": message})
        self.news.set()

    def take(self) -> Iterator[tuple[Event, bytes]]:
        """What nobody has taken yet, in order."""
        while self._waiting:
            yield Event.PROGRESS, msgspec.json.encode(self._waiting.popleft())


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


async def of_either(stream: Stream, streams: Callable[[], Awaitable[bool]]) -> Events:
    """Of a tool that nobody knows before a worker is there: as `of_stream`, or as `of_call` if `streams` says then that it doesn't.

    Raises SnakepitError.
    """
    whole: bool | None = None
    async with contextlib.aclosing(of_stream(stream)) as events:
        async for kind, said in events:
            if kind is Event.CHUNK and whole is None:
                whole = not await streams()
            if not whole:
                yield kind, said
            elif kind is not Event.END:  # One that streams nothing has its result in one chunk.
                yield Event.RESULT if kind is Event.CHUNK else kind, said


async def of_call(call: Awaitable[Relayed]) -> Events:
    """Its result. Raises SnakepitError."""
    payload = (await call).payload
    for event in _warnings(payload):
        yield event
    yield Event.RESULT, as_json(payload)


def _warnings(payload: Payload) -> Iterator[tuple[Event, bytes]]:
    return ((Event.WARNING, msgspec.json.encode(each)) for each in payload.warnings)


async def send_events(send: Send, events: Events, said: Said, kind: str, headers: RawHeaders) -> None:
    """With what is `said` between them. Raises SnakepitError for what fails before the answer has begun: that still has a status."""
    answer = _Answer(send, kind, headers)
    beside = asyncio.create_task(_beside(answer, said), name="progress and pings of a stream")
    try:
        async with contextlib.aclosing(events):
            async for event in events:
                await answer.write(*said.take(), event)
    except SnakepitError as error:
        if not answer.begun:
            raise
        await answer.write(*said.take(), (Event.ERROR, msgspec.json.encode(problem_as_json(error))))
    finally:
        beside.cancel()
    await answer.end()


class _Answer:
    """One that has begun with its first event. Its lines come from two tasks, of which one writes at a time."""

    def __init__(self, send: Send, kind: str, headers: RawHeaders) -> None:
        self.begun = False
        self.pings = kind == SSE
        self._send, self._kind, self._headers = send, kind, headers
        self._line = _sse if kind == SSE else _ndjson
        self._turn = asyncio.Lock()

    async def write(self, *events: tuple[Event, bytes]) -> None:
        await self._body(b"".join([self._line(event, data) for event, data in events]), more=True)

    async def ping(self) -> None:
        """Say something that is no event."""
        await self._body(b":\n\n", more=True)

    async def end(self) -> None:
        await self._body(b"", more=False)

    async def _body(self, text: bytes, *, more: bool) -> None:
        async with self._turn:
            if not self.begun:
                self.begun = True
                given = [(b"content-type", self._kind.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
                await self._send({"type": "http.response.start", "status": 200, "headers": [*given, *self._headers]})
            await self._send({"type": "http.response.body", "body": text, "more_body": more})


async def _beside(answer: _Answer, said: Said) -> None:
    """What is written while no event comes."""
    while True:
        try:
            async with asyncio.timeout(PING_SECONDS if answer.pings else None):
                await said.news.wait()
        except TimeoutError:
            await answer.ping()
            continue
        said.news.clear()
        if waiting := [*said.take()]:
            await answer.write(*waiting)


def _sse(event: Event, data: bytes) -> bytes:
    """JSON has no line breaks of its own but between its tokens, where a tool may have put some."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data.replace(b"\n", b" ").replace(b"\r", b" "))


def _ndjson(event: Event, data: bytes) -> bytes:
    return b'{"%s":%s}\n' % (event.encode(), data.replace(b"\n", b" ").replace(b"\r", b" "))
