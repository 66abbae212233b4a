"""How a request of a client before 2026-07-28 is answered: as JSON, which costs half, unless its call tells of progress or takes long.

What the package itself does for them is either always SSE, or always JSON, which a proxy may cut where a tool takes its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.types import Message, Receive, Send

SSE = b"text/event-stream"
PING_SECONDS = 15.0
"""After so long without an answer it becomes a stream, in which something is said as often."""

_BEGINNING: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", SSE), (b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no")],
}
_PING = b": ping\r\n\r\n"


class _Meta(msgspec.Struct, rename="camel"):
    progress_token: Any = None


class _Params(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta, name="_meta")


class Asking(msgspec.Struct):
    """What has to be known of a message beforehand. Whether it is a good one, the package says."""

    method: str = ""
    params: _Params = msgspec.field(default_factory=_Params)

    @property
    def hears_progress(self) -> bool:
        """Its answer has to be a stream from its beginning."""
        return self.params.meta.progress_token is not None


_decoder = msgspec.json.Decoder(Asking)


def asking(body: bytes) -> Asking:
    """Of a body that is something else: a message that asks for nothing."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Asking()


def replayed(body: bytes, receive: Receive) -> Receive:
    """The same request for whoever reads it next."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return unread.pop() if unread else await receive()

    return read


@asynccontextmanager
async def json_in_time(send: Send, *, may_stream: bool = True) -> AsyncIterator[Send]:
    """For an answer of JSON as a whole: if it isn't there by `PING_SECONDS`, a stream begins, of which it is the only event.

    `may_stream`: the client takes one; who doesn't waits for JSON.
    """
    if not may_stream:
        yield send
        return
    answer = _Answer(send)
    timer = asyncio.get_running_loop().call_later(PING_SECONDS, answer.stream)
    try:
        yield answer.send
    finally:
        timer.cancel()
        answer.end()


class _Answer:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._pings: asyncio.Task[None] | None = None
        self._begun = False
        self._turn = asyncio.Lock()

    def stream(self) -> None:
        if not self._begun:
            self._pings = asyncio.create_task(self._ping(), name="pings of an MCP answer")

    def end(self) -> None:
        if self._pings is not None:
            self._pings.cancel()

    async def send(self, message: Message) -> None:
        """The package's: a beginning, and then the body as a whole."""
        self._begun = True
        async with self._turn:  # A ping that is being written is written.
            if self._pings is None:
                await self._send(message)
            elif message["type"] == "http.response.body":
                await self._write(b"event: message\r\ndata: %s\r\n\r\n" % message["body"], more=False)

    async def _ping(self) -> None:
        async with self._turn:
            await self._send(_BEGINNING)
        while not self._begun:
            async with self._turn:
                await self._write(_PING)
            await asyncio.sleep(PING_SECONDS)

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
