"""What a tool may take and give over HTTP, and MCP: bytes, files, progress, a stream that somebody leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from snakepit import Adapter, AsyncContext, Attachment, Context, tool

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c636001000000050001")


class Front(Adapter):
    """Files."""

    @tool(idempotent=True)
    def picture(self) -> Attachment:
        """A file of an image."""
        return Attachment("image/png", PNG)

    @tool
    def page(self) -> Attachment:
        """A file that a browser would run."""
        return Attachment("text/html", b"<script>alert(1)</script>")

    @tool
    def both(self) -> dict[str, object]:
        """Bytes in the middle of JSON, and a number that JSON doesn't have."""
        return {"data": b"\x00\xff", "infinite": float("inf"), "large": 2**60 + 1}

    @tool
    def blob(self, size: int) -> bytes:
        """So many bytes."""
        return bytes(size)

    @tool
    def sizes(self, data: bytes, title: str = "", also: list[int] | None = None) -> list[object]:
        """What has come."""
        return [len(data), title, also]

    @tool
    def double(self, value: object) -> object:
        """Whatever has come, twice."""
        return [value, value]

    @tool
    def steps(self, count: int, *, ctx: Context) -> int:
        """Say how far it is."""
        for number in range(count):
            ctx.progress((number + 1) / count, f"step {number + 1}")
        return count

    @tool
    def awaited(self, path: str, *, ctx: Context) -> Iterator[int]:
        """A piece, and how far it is; then, when somebody has made the file `path`, another piece."""
        yield 1
        ctx.progress(0.5, "half")
        while not Path(path).exists():
            ctx.check()
            time.sleep(0.005)
        yield 2

    @tool
    def model(self) -> dict[str, object]:
        """Something that can't be carried."""
        return {"name": "m", "lock": threading.Lock()}

    @tool
    def models(self) -> Iterator[object]:
        """The same, as a stream."""
        yield threading.Lock()
        yield "m"

    @tool
    async def quiet(self, path: str) -> None:
        """Say nothing, and write down that it runs, and that it was interrupted."""
        _write(path, "runs")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            _write(path, "interrupted")
            raise

    @tool
    async def endless(self, path: str, size: int, *, ctx: AsyncContext) -> AsyncIterator[str]:
        """Count in long texts, and write down how far it has got."""
        number = 0
        try:
            while True:
                yield f"{number:0{size}}"
                number += 1
        finally:
            _write(path, str(number))

    @tool
    def broken(self) -> Iterator[int]:
        """Two pieces, and an error."""
        yield 1
        yield 2
        raise LookupError("no third")

    @tool
    def whose(self, *, ctx: Context) -> str:
        """Who calls."""
        return ctx.caller.subject if ctx.caller is not None else ""


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)
