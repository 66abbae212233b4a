"""What a tool's exception leaves in its author's log: one record each, until there are too many of a tool's.

It costs nothing where nothing is raised. What of it is told is decided by `Budget`, which is pure.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from snakepit._telemetry.log_lines import TOOL_LOGGER
from snakepit_worker import logs

VARIABLE = "SNAKEPIT_LOG_TOOL_ERRORS"

BURST = 10
"""So many exceptions of a tool are told one after the other."""

SECONDS = 10.0
"""In this time one more may be told."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """The worker's environment can say that the callers alone are told."""
    return environment.get(VARIABLE, "").strip().lower() not in ("off", "0", "false", "no")


class Budget:
    """Of one tool: how many records it may have now. `now`: monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._tokens = float(BURST)
        self._at = now
        self.left_out = 0

    def take(self, now: float) -> int | None:
        """None: this one is left out. Otherwise it is told, and so many before it were not."""
        self._tokens = min(float(BURST), self._tokens + (now - self._at) / SECONDS)
        self._at = now
        if self._tokens < 1.0:
            self.left_out += 1
            return None
        self._tokens -= 1.0
        before, self.left_out = self.left_out, 0
        return before

    @property
    def is_spent(self) -> bool:
        """Will the next one be left out?"""
        return self._tokens < 1.0


class Raised:
    """Of one worker. Its state is bounded by the adapter's tools."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._budgets: dict[str, Budget] = {}
        self._lock = threading.Lock()

    def tell(self, tool: str, explained: Mapping[str, Any], now: float) -> None:
        """In the thread that runs the call. `explained`: the exception, see `explained.explain`."""
        if not self._wanted:
            return
        with self._lock:
            budget = self._budgets.setdefault(tool, Budget(now))
            before, spent = budget.take(now), budget.is_spent
        if before is None:
            return
        notes = [f"{before} more before it were left out"] if before else []
        notes += [f"further ones of {tool} are told once in {SECONDS:g} s"] if spent and not before else []
        note = f" ({'; '.join(notes)})" if notes else ""
        said = f"raised {explained['type']}: {explained['message']}" if explained["message"] else f"raised {explained['type']}"
        logs.write("error", f"{TOOL_LOGGER}.{tool}", f"{said}{note}", explained["traceback"])

    def finish(self) -> None:
        """The worker ends: what was left out is counted at least."""
        for tool, budget in self._budgets.items():
            if budget.left_out:
                logs.write("error", f"{TOOL_LOGGER}.{tool}", f"{budget.left_out} more exceptions of {tool} were left out")
