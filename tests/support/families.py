"""Processes and what became of those that they started."""

from __future__ import annotations

from pathlib import Path

HELPERS = 4
"""Of a keeper that is not PID 1: guard, collector, and one zygote with its spare."""


def descendants(root: int) -> dict[int, str]:
    """All of them by pid, with their names."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        state, parent = rest.split()[:2]
        parents[int(folder.name)] = int(parent), name.partition("(")[2] + (" (dead)" if state == "Z" else "")
    found: dict[int, str] = {}
    generation = {root}
    while generation := {pid for pid, (parent, _) in parents.items() if parent in generation}:
        found |= {pid: parents[pid][1] for pid in generation}
    return found


def started_with(variable: str) -> list[int]:
    """Processes that had `NAME=value` in their environment when their program began, wherever they are now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"\0{variable}\0".encode() in b"\0" + (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found
