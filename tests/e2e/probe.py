"""The adapter of the cluster tests; it gets into the pods by a ConfigMap."""

import os
import time
from collections.abc import Iterator

from snakepit import Adapter, Context, tool


class Probe(Adapter):
    """Says where it runs, and does as it is told."""

    @tool
    def whoami(self) -> dict[str, object]:
        """Pod and process that answered."""
        return {"pod": os.environ.get("HOSTNAME", ""), "pid": os.getpid()}

    @tool
    def caller(self, *, ctx: Context) -> str:
        """Who has called it."""
        return ctx.caller.subject

    @tool
    def work(self, seconds: float) -> int:
        """Take that long; returns the process id."""
        time.sleep(seconds)
        return os.getpid()

    @tool
    def weigh(self, value: object) -> int:
        """How long it is."""
        return len(value)

    @tool
    def count(self, to: int) -> Iterator[int]:
        """Count, piece by piece."""
        yield from range(to)

    @tool
    def remember(self, key: str, value: str, *, ctx: Context) -> int:
        """Keep a value in the session; returns its version."""
        return ctx.state.set(key, value)

    @tool
    def recall(self, key: str, *, ctx: Context) -> object:
        """What the session keeps under the key, and which process says so."""
        return {"value": ctx.state.get(key), "pod": os.environ.get("HOSTNAME", ""), "pid": os.getpid()}


class FailsInSetup(Adapter):
    """Never gets warm."""

    def setup(self) -> None:
        raise RuntimeError("the model file is missing")

    @tool
    def never(self) -> None:
        """Never runs."""
