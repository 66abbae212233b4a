"""The pools of `a_day`: what their workers run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from snakepit import Adapter, Context, tool
from support.sample import Sample


class Digits(Sample):
    @tool(idempotent=True)
    def dies_once(self, mark: str) -> str:
        """The file of that name is there afterwards; the worker that makes it dies."""
        if not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    @tool
    def ask(self, name: str, arguments: dict[str, Any], *, ctx: Context) -> Any:
        """Call that tool of a client."""
        return ctx.call_tool(name, arguments)


class Broken(Adapter):
    def setup(self) -> None:
        raise FileNotFoundError("the model file is missing")

    @tool
    def never(self) -> None:
        """No worker comes so far."""
