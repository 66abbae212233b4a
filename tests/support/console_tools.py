"""An adapter for the console's tests: progress, streams, failures, a slow start, and markup wherever an author or a caller may put it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

from snakepit import Adapter, Context, tool

MARKUP = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>\'"&amp;'


class Bench(Adapter):
    """A bench for trying things."""

    def setup(self) -> None:
        time.sleep(0.4)

    @tool(title="Adds numbers", read_only=True, idempotent=True)
    def add(self, a: int, b: int = 1) -> int:
        """Add two whole numbers."""
        return a + b

    @tool
    def count(self, to: int, pause: float = 0.1, *, ctx: Context) -> Iterator[dict[str, int]]:
        """Count, and square each number."""
        for number in range(1, to + 1):
            ctx.check()
            ctx.progress(number / to, f"number {number} of {to}")
            yield {"number": number, "square": number * number}
            time.sleep(pause)

    @tool
    def fit(self, steps: int, model: Literal["small", "large"] = "small", *, ctx: Context) -> dict[str, float]:
        """Fit a model, and tell how far it is."""
        for step in range(1, steps + 1):
            time.sleep(0.1)
            ctx.progress(step / steps, f"step {step} of {steps}")
        return {"loss": 0.5 if model == "small" else 0.25}

    @tool
    def fail(self, message: str) -> None:
        raise LookupError(message)

    @tool
    def echo(self, value: str) -> str:
        return value

    @tool
    def wait(self, seconds: float) -> str:
        """Hold a slot for a while."""
        time.sleep(seconds)
        return "waited"

    @tool(destructive=True)
    def keep(self, key: str, value: str, *, ctx: Context) -> int:
        """Write one key of the session's state."""
        print(f"{ctx.session_id} keeps {key}")
        return ctx.state.set(key, value)


class Sick(Bench):
    """It can't start."""

    def setup(self) -> None:
        raise FileNotFoundError("there is no model at /models/small")


Bench.echo.__doc__ = f"Give back {MARKUP}"
