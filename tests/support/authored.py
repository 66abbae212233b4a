"""An adapter that uses what else an author may: hooks in both ways, a tool's own time-out, and a call's own name."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

from snakepit import Adapter, AsyncContext, Context, tool


def _note(what: str) -> None:
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(f"{what}\n")


class Hooked(Adapter):
    """Notes each hook, and calls, in a file."""

    thread_safe = True

    def setup(self) -> None:
        _note("setup")

    def on_session_start(self, session_id: str) -> None:
        _note(f"start {session_id}")

    def on_session_end(self, session_id: str) -> None:
        _note(f"end {session_id}")

    def on_drain(self) -> None:
        _note("on_drain")

    def teardown(self) -> None:
        _note("teardown")

    @tool
    async def visit(self) -> bool:
        _note("visit")
        return True


class Forking(Hooked):
    """Each hook forks, and lets both come back."""

    def setup(self) -> None:
        super().setup()
        os.fork()

    def on_session_start(self, session_id: str) -> None:
        super().on_session_start(session_id)
        os.fork()

    def on_session_end(self, session_id: str) -> None:
        super().on_session_end(session_id)
        os.fork()

    def on_drain(self) -> None:
        super().on_drain()
        os.fork()


class HookedLater(Adapter):
    """The same, with `async`: what setup() binds to its event loop, as a connection is, serves hooks and tools alike."""

    thread_safe = True

    async def setup(self) -> None:
        await self._note("setup", asyncio.get_running_loop())

    async def on_session_start(self, session_id: str) -> None:
        await self._note(f"start {session_id}", self.loop)

    async def on_session_end(self, session_id: str) -> None:
        await self._note(f"end {session_id}", self.loop)

    async def on_drain(self) -> None:
        await self._note("on_drain", self.loop)

    async def teardown(self) -> None:
        await self._note("teardown", self.loop)

    async def _note(self, what: str, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        await asyncio.sleep(0)
        _note(what if asyncio.get_running_loop() is loop else f"{what} in another loop")

    @tool
    async def visit(self) -> bool:
        await self._note("visit", self.loop)
        return True


class ForkingLater(HookedLater):
    async def setup(self) -> None:
        await super().setup()
        os.fork()

    async def on_session_start(self, session_id: str) -> None:
        await super().on_session_start(session_id)
        os.fork()

    async def on_drain(self) -> None:
        await super().on_drain()
        os.fork()


class Timed(Adapter):
    @tool(timeout=0.2)
    def short(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    @tool
    def named(self, *, ctx: Context) -> list[object]:
        """What the call is called, and whether it has a deadline."""
        return [ctx.call_id, ctx.remaining() is not None]


class Remembering(Adapter):
    """Rebuilds what it knows of a session from its state."""

    thread_safe = True

    def setup(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.rebuilt: list[str] = []
        self.slow = threading.Event()

    def on_session_start(self, ctx: Context) -> None:
        if ctx.session_id == "broken" and not self.rebuilt:
            self.rebuilt.append("failed")
            raise LookupError("not yet")
        if ctx.session_id == "slow" and not self.slow.wait(10):
            raise TimeoutError
        self.known[ctx.session_id] = ctx.state.get("words", [])
        self.rebuilt.append(ctx.session_id)

    def on_session_end(self, session_id: str) -> None:
        del self.known[session_id]

    @tool
    def learn(self, word: str, *, ctx: Context) -> list[str]:
        self.known[ctx.session_id].append(word)
        ctx.state.set("words", self.known[ctx.session_id])
        return self.known[ctx.session_id]

    @tool
    def starts(self) -> list[str]:
        return self.rebuilt

    @tool
    def go_on(self) -> None:
        self.slow.set()


class RememberingLater(Remembering):
    """The same in a coroutine."""

    async def on_session_start(self, context: AsyncContext) -> None:  # type: ignore[override]
        self.known[context.session_id] = await context.state.get("words", [])
        self.rebuilt.append(context.session_id)


class Stuck(Adapter):
    """A hook that never comes back."""

    async def on_session_start(self, ctx: AsyncContext) -> None:
        await asyncio.sleep(600)

    @tool
    def visit(self) -> None: ...


class Telling(Adapter):
    """Says what its process has."""

    thread_safe = True

    @tool
    def variable(self, name: str) -> str:
        return os.environ[name]

    @tool
    def leave(self) -> None:
        os._exit(3)
