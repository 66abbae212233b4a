"""What `snakepit dev` tells people: lines that read well on a terminal and in a log. It is told; it looks at nothing itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from typing import Any

from rich.console import Console
from rich.text import Text

from snakepit.client import ToolInfo
from snakepit_operator.model import CapsuleView, FleetView

_EXAMPLES: Mapping[str, str] = {"integer": "3", "number": "1.5", "string": "text", "boolean": "true", "array": "[...]", "object": "{...}"}

_NEEDY = 5


class Reporter:
    """Prints each change once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._states: dict[str, object] = {}
        self._capsules: dict[str, CapsuleView] = {}

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(f"{time.monotonic() - self._began:7.2f}s  ", "dim") + Text(text, style), soft_wrap=True)

    def author_line(self, capsule: str, line: str) -> None:
        """A line of a capsule's output, as it came."""
        self._console.print(Text(f"{capsule} | ", "cyan") + Text.from_ansi(line), soft_wrap=True)

    def created(self, capsule: str, adapter: str) -> None:
        self.say(f"starting capsule {capsule} ({adapter})", "dim")

    def deleted(self, capsule: str, reason: str, message: str) -> None:
        self.say(f"ending capsule {capsule}: {reason}{f' ({message})' if message else ''}", "yellow" if message else "dim")

    def pool(self, name: str, view: FleetView | None) -> None:
        """Say what has changed: availability, restarts, workers that can't start."""
        if view is None:
            return
        for capsule in view.capsules.values():
            self._capsule(capsule)
        state = (view.available, view.ready_workers)
        before = self._states.get(name)
        self._states[name] = state
        if state == before or (before is None and not view.available):
            return
        if view.available:
            self.say(f"pool {name}: {view.ready_workers} ready workers, {view.total_slots} slots", "green")
        else:
            self.say(f"pool {name} is not available: {view.reason} {view.message}".rstrip(), "yellow")

    def ready(self, address: str, pools: Mapping[str, list[ToolInfo]], needy: Mapping[str, Set[str]]) -> None:
        self.say(f"ready: the control plane is at {address}; Ctrl-C stops everything", "bold green")
        for name, tools in pools.items():
            if tools:
                self.say(f"try: {example(address, name, tools, needy[name])}", "bold")

    def _capsule(self, now: CapsuleView) -> None:
        before = self._capsules.get(now.name)
        self._capsules[now.name] = now
        if now.failure is not None and (before is None or before.failure != now.failure):
            self.say(f"capsule {now.name}: a worker can't start: {now.failure[0]}: {now.failure[1]}", "red")
        if before is not None and now.pod_uid == before.pod_uid and now.restarts > before.restarts and now.failure is None:
            self.say(f"capsule {now.name}: a worker ended and was started again", "yellow")


def example(address: str, pool: str, tools: list[ToolInfo], needy: Set[str] = frozenset()) -> str:
    """A command that a person can paste: of a tool whose arguments are short to type, and that needs nothing else."""

    def cost(tool: ToolInfo) -> int:
        return (sum(_cost(schema) for schema in _required(tool).values()) or 2) + (_NEEDY if tool.name in needy else 0)

    tool = min(tools, key=lambda each: (cost(each), each.name))
    words = [f"{name}={_EXAMPLES.get(str(schema.get('type')), '...')}" for name, schema in _required(tool).items()]
    server = [] if address.endswith(":7800") else ["--server", address]
    return " ".join(["snakepit", "call", pool, tool.name, *words, *(["--stream"] if tool.streaming else []), *server])


def _cost(schema: Mapping[str, Any]) -> int:
    return 1 if schema.get("type") in ("integer", "number", "string", "boolean") else 10


def _required(tool: ToolInfo) -> dict[str, Mapping[str, Any]]:
    properties = tool.input_schema.get("properties", {})
    return {name: properties.get(name, {}) for name in tool.input_schema.get("required", [])}
