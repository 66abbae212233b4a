"""What the kernel knows of the soak's processes: what they hold, and which of them nobody has any more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cpu import resident_mib


@dataclass
class Footprint:
    """What a process holds."""

    files: int
    threads: int
    mib: float


def footprint(pid: int) -> Footprint:
    process = Path(f"/proc/{pid}")
    return Footprint(len(list((process / "fd").iterdir())), len(list((process / "task").iterdir())), resident_mib(pid))


def name(pid: int) -> str:
    """Empty: it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def orphans(folder: Path, known: Collection[int]) -> list[str]:
    """Processes that have that folder in their environment, as capsules and all that authors' code starts there have, but for these."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = str(folder).encode() in (process / "environ").read_bytes()
        except OSError:
            continue  # It has gone, or is not for us to look at.
        if ours and int(process.name) not in known:
            found.append(f"{name(int(process.name))} ({process.name})")
    return found


def zombies(parents: Collection[int]) -> list[str]:
    """Processes that have ended, and that none of these parents has asked after."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(parent) in parents:
            found.append(f"{name(int(process.name))} ({process.name})")
    return found
