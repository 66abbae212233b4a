"""An adapter that leaves behind whatever it can."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import Any

from snakepit import Adapter, AsyncContext, Context, tool

VARIABLE: ContextVar[str] = ContextVar("left", default="nothing")


class Leaving(Adapter):
    kept: Context | None = None
    thread_safe = True

    @tool
    def leave(self, *, ctx: Context) -> None:
        """Change everything that hangs on the context."""
        VARIABLE.set("something")
        ctx.state.set("k", ["mine"])
        ctx.state.get("k").append("changed in place")
        ctx.metadata["left"] = "something"  # type: ignore[index]
        with contextlib.suppress(AttributeError):
            ctx.left = "something"  # type: ignore[attr-defined]
        self.kept = ctx

    @tool
    async def leave_async(self, *, ctx: AsyncContext) -> None:
        """The same, in a coroutine."""
        VARIABLE.set("something")
        await ctx.state.set("k", ["mine"])
        (await ctx.state.get("k")).append("changed in place")
        ctx.metadata["left"] = "something"  # type: ignore[index]

    @tool
    def look(self, *, ctx: Context) -> dict[str, Any]:
        """What this call sees."""
        keys = ctx.state.keys()
        return {**_seen(ctx), "state": {key: ctx.state.get(key) for key in keys}}

    @tool
    async def look_async(self, *, ctx: AsyncContext) -> dict[str, Any]:
        """What this call sees, in a coroutine."""
        return {**_seen(ctx), "state": {key: await ctx.state.get(key) for key in await ctx.state.keys()}}

    @tool
    def whose(self, *, ctx: Context) -> dict[str, Any]:
        """The same, without a session's state."""
        return _seen(ctx)

    @tool
    def reach_back(self) -> str:
        """Use the context of an earlier call."""
        assert self.kept is not None
        try:
            return str(self.kept.state.get("other"))
        except RuntimeError as error:
            return str(error)


def _seen(ctx: Context | AsyncContext) -> dict[str, Any]:
    return {"session": ctx.session_id, "metadata": dict(ctx.metadata), "variable": VARIABLE.get(), "left": getattr(ctx, "left", "nothing")}
