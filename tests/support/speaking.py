"""An adapter that says what it is told to: printed, logged, raised."""

from __future__ import annotations

from snakepit import Adapter, Context, tool


class Speaking(Adapter):
    """Speaks."""

    @tool
    def say(self, text: str, *, ctx: Context) -> str:
        """Say it twice."""
        print(text)
        ctx.logger.warning("logged: %s", text)
        return text

    @tool
    def fail(self, text: str) -> None:
        """Raise it."""
        raise LookupError(text)
