"""A page kept up to date: one stream of events, with those of its parts that are not as they were sent last.

Nothing is queued for a reader: each looks at what is so now when there is room for it. One that takes nothing for a while is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BYTES_PER_SECOND = 40_000
BURST_BYTES = 40_000
SLOW_SECONDS = 20.0
FAREWELL_SECONDS = 1.0
BEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Part:
    """An element of a page. With `children`, elements inside it that are sent by themselves, `shape` is all else that it consists of."""

    id: str
    html: str
    shape: str = ""
    children: tuple[Part, ...] = ()

    @property
    def version(self) -> int:
        return hash(self.shape or self.html)


@dataclass
class Reader:
    """What one reader has, and how much it may get now."""

    sent: dict[str, tuple[int, float]] = field(default_factory=dict)
    room: float = BURST_BYTES
    at: float = 0.0

    def take(self, parts: Iterable[Part], now: float) -> list[Part]:
        """Of the parts that changed, those that there is room for; what was sent longest ago goes first. Counts them as sent. Pure."""
        self.room = min(BURST_BYTES, self.room + (now - self.at) * BYTES_PER_SECOND)
        self.at = now
        taken: list[Part] = []
        parts = list(parts)
        there = {each.id for part in parts for each in (part, *part.children)}
        self.sent = {id_: sent for id_, sent in self.sent.items() if id_ in there}
        for part in sorted(self._changed(parts), key=lambda each: self.sent.get(each.id, (0, -1.0))[1]):
            if self.room <= 0:
                break
            self.room -= len(part.html)
            for each in (part, *part.children):
                self.sent[each.id] = (each.version, now)
            taken.append(part)
        return taken

    def _changed(self, parts: Iterable[Part]) -> Iterable[Part]:
        for part in parts:
            if self.sent.get(part.id, (None,))[0] != part.version:
                yield part
            else:
                yield from self._changed(part.children)


def event(parts: Iterable[Part], how: str = "outerMorph") -> bytes:
    """One event that puts each part in the place of the one with its id."""
    html = "".join(f'<hx-partial hx-target="#{each.id}" hx-swap="{how}">{each.html}</hx-partial>' for each in parts)
    lines = html.replace("\r", "&#13;").split("\n")
    return "".join(f"data: {line}\n" for line in lines).encode("utf-8", "replace") + b"\n"


class Live(Response):
    """The stream. `look` says what the page's parts are now, and `every` after how many seconds it is asked again.

    `leaving` is set when the server ends, `count` told of begin and end.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        look: Callable[[], Awaitable[list[Part]]],
        every: Callable[[], float],
        leaving: asyncio.Event,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._look, self._every, self._leaving, self._count = look, every, leaving, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        ends = [asyncio.ensure_future(each) for each in (self._stream(send), _hung_up(receive), self._leaving.wait())]
        self._count(1)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._count(-1)
            for each in ends:
                each.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        error = None if ends[0].cancelled() else ends[0].exception()
        if error is not None and not isinstance(error, TimeoutError | OSError):
            raise error
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await send({"type": "http.response.body", "body": b""})

    async def _stream(self, send: Send) -> None:
        loop, reader = asyncio.get_running_loop(), Reader(at=asyncio.get_running_loop().time())
        said = loop.time()
        while True:
            began = loop.time()
            parts = reader.take(await self._look(), began)
            if parts or began - said >= BEAT_SECONDS:
                said = began
                async with asyncio.timeout(SLOW_SECONDS):
                    await send({"type": "http.response.body", "body": event(parts) if parts else b"event: beat\n\n", "more_body": True})
            await asyncio.sleep(max(0.05, self._every() - (loop.time() - began)))


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
