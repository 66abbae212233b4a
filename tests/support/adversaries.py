"""The files of tests/adversarial: what they declare, read without running them, and adapters that offer their tools."""

from __future__ import annotations

import ast
import asyncio
import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakepit import Adapter, tool

FOLDER = Path(__file__).parents[1] / "adversarial"


@dataclass(frozen=True)
class Adversary:
    """One file. `outcome`: a pattern, as of a file's name, for what its caller is told, and `or_else` what it may be told as well.

    `world`: where it does its deed:
    "process" or "thread", the profile of a pool that has many such tools; "start", a pool of its own whose workers can't start.
    `leaves`: how its worker ends, if it has not done so itself: "killed" or "recycled".
    """

    name: str
    outcome: str
    or_else: str = ""
    world: str = "process"
    timeout: float = 20.0
    arguments: dict[str, Any] = field(default_factory=dict)
    leaves: str = "killed"


def read(path: Path) -> Adversary:
    """The constants at the top of a file."""
    said = {
        statement.targets[0].id.lower(): ast.literal_eval(statement.value)
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    return Adversary(path.stem, **said)


ALL = [read(path) for path in sorted(FOLDER.glob("*.py"))]


class Calm(Adapter):
    """What must still be served."""

    @tool
    def calm(self, value: int) -> int:
        return value

    @tool
    async def calm_later(self, value: int) -> int:
        await asyncio.sleep(0)
        return value


def _offering(world: str) -> dict[str, Any]:
    """Only where an adapter is wanted: their imports are harmless, but they are for a worker."""
    names = [each.name for each in ALL if each.world == world]
    return {name: staticmethod(getattr(importlib.import_module(f"adversarial.{name}"), name)) for name in names}


def __getattr__(name: str) -> type[Adapter]:
    """`Process` and `Thread`: adapters with all the tools of that world."""
    if name not in ("Process", "Thread"):
        raise AttributeError(name)
    made = type(name, (Calm,), {"__module__": __name__, "thread_safe": True, **_offering(name.lower())})
    setattr(sys.modules[__name__], name, made)
    return made
