"""An adapter that uses most of the context: state, progress, a stream, a client's tool, a deadline."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from snakepit import Adapter, AsyncContext, Context, tool


class Notes(Adapter):
    """Each session has its own notes."""

    async def on_session_start(self, session_id: str) -> None:
        print("hello", session_id)

    @tool
    def add(self, text: str, *, ctx: Context) -> int:
        """Keep a note; how many there are now."""
        notes = [*ctx.state.get("notes", []), text]
        ctx.state.set("notes", notes)
        return len(notes)

    @tool
    def read(self, *, ctx: Context) -> Iterator[str]:
        """All notes, one by one."""
        yield from ctx.state.get("notes", [])

    @tool
    def clear(self, *, ctx: Context) -> bool:
        """Forget all notes, if somebody says yes."""
        if not ctx.call_tool("confirm", {"question": "Forget everything?"}):
            return False
        return ctx.state.delete("notes")

    @tool
    def report(self, pages: int, *, ctx: Context) -> str:
        """Write a report, and say how far it is."""
        for page in range(pages):
            ctx.check()
            ctx.progress((page + 1) / pages, f"page {page + 1}")
        return f"{pages} pages"

    @tool
    async def wait(self, seconds: float) -> None:
        """Do nothing for a while."""
        await asyncio.sleep(seconds)

    @tool
    async def ticks(self, *, ctx: AsyncContext) -> AsyncIterator[int]:
        """Count until nobody listens."""
        number = 0
        while True:
            yield number
            number += 1
