"""An adapter whose tools call tools: of clients, of its own pool, of other pools."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from snakepit import Adapter, AsyncContext, Context, SnakepitError, tool


class Asking(Adapter):
    thread_safe = True

    @tool
    def ask(self, name: str, arguments: dict[str, Any] | None = None, pool: str | None = None, *, ctx: Context) -> Any:
        """Call that tool, blocking."""
        return ctx.call_tool(name, arguments, pool=pool)

    @tool
    async def ask_later(self, name: str, arguments: dict[str, Any] | None = None, *, ctx: AsyncContext) -> Any:
        return await ctx.call_tool(name, arguments)

    @tool
    async def ask_all(self, name: str, values: list[Any], *, ctx: AsyncContext) -> list[Any]:
        """Call it with each value, at the same time."""
        return await asyncio.gather(*[ctx.call_tool(name, {"value": value}) for value in values])

    @tool
    def refused(self, name: str, arguments: dict[str, Any] | None = None, pool: str | None = None, *, ctx: Context) -> Any:
        """How it fails: class, reason, started, details; None if it doesn't."""
        try:
            ctx.call_tool(name, arguments, pool=pool)
        except SnakepitError as error:
            return [type(error).__name__, error.reason, error.started.name, str(error), dict(error.details)]

    @tool
    def stream(self, name: str, arguments: dict[str, Any] | None = None, pool: str | None = None, *, ctx: Context) -> Iterator[Any]:
        yield from ctx.stream_tool(name, arguments, pool=pool)

    @tool
    async def stream_later(self, name: str, arguments: dict[str, Any] | None = None, *, ctx: AsyncContext) -> AsyncIterator[Any]:
        async for value in ctx.stream_tool(name, arguments):
            yield value

    @tool
    def first_of(self, name: str, *, ctx: Context) -> Any:
        """The first chunk of an endless stream."""
        with contextlib.closing(ctx.stream_tool(name)) as chunks:  # type: ignore[type-var]
            return next(chunks)

    @tool
    async def give_up(self, name: str, seconds: float, *, ctx: AsyncContext) -> str:
        """Wait for the tool for so long, and go on without it."""
        try:
            async with asyncio.timeout(seconds):
                await ctx.call_tool(name)
        except TimeoutError:
            return "gave up"
        return "had it"

    @tool
    def brief(self, name: str, timeout: float, *, ctx: Context) -> Any:
        try:
            ctx.call_tool(name, timeout=timeout)
        except SnakepitError as error:
            return error.reason

    @tool
    def deeper(self, left: int, *, ctx: Context) -> int:
        """Calls itself; how deep it came."""
        return 0 if left == 0 else 1 + ctx.call_tool("deeper", {"left": left - 1})

    @tool
    def meet_then(self, name: str, arguments: dict[str, Any], *, ctx: Context) -> Any:
        """Once everybody holds a slot, call that tool; the reason if it fails."""
        ctx.call_tool("meet")
        try:
            return ctx.call_tool(name, arguments)
        except SnakepitError as error:
            return error.reason

    @tool
    def process(self) -> int:
        return os.getpid()

    @tool
    def note_then_ask(self, name: str, arguments: dict[str, Any], *, ctx: Context) -> Any:
        """Say who runs this, then call that tool."""
        ctx.call_tool("note", {"process": os.getpid()})
        return ctx.call_tool(name, arguments)

    @tool
    def whoami(self, *, ctx: Context) -> list[Any]:
        return [ctx.session_id, dict(ctx.metadata), ctx.remaining()]

    @tool
    def legs(self, depth: int, seconds: float, *, ctx: Context) -> list[float | None]:
        """What is left here, and, after so many seconds, in the next of `depth` calls within this one."""
        left = ctx.remaining()
        time.sleep(seconds)
        return [left, *(ctx.call_tool("legs", {"depth": depth - 1, "seconds": seconds}) if depth else ())]

    @tool
    def remember(self, key: str, value: Any, *, ctx: Context) -> int:
        return ctx.state.set(key, value)

    @tool
    def recall(self, key: str, *, ctx: Context) -> Any:
        return ctx.state.get(key)

    @tool
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @tool
    def fail(self) -> None:
        raise LookupError("not here")

    @tool
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    @tool
    def spin(self, *, ctx: Context) -> None:
        while True:
            ctx.check()
            time.sleep(0.001)

    @tool
    def length_of(self, name: str, arguments: dict[str, Any], *, ctx: Context) -> int:
        return len(ctx.call_tool(name, arguments))

    @tool
    def lengths(self, name: str, arguments: dict[str, Any], *, ctx: Context) -> Iterator[int]:
        for chunk in ctx.stream_tool(name, arguments):
            yield len(chunk)

    @tool
    def echo(self, value: Any) -> Any:
        return value

    @tool
    def large(self, size: int) -> bytes:
        return b"x" * size

    @tool
    def large_stream(self, chunks: int, size: int) -> Iterator[bytes]:
        for _ in range(chunks):
            yield b"x" * size

    @tool
    def steps(self, *, ctx: Context) -> str:
        for step in range(4):
            ctx.progress(step / 4, f"step {step}")
        return "done"
