"""What processes cost: their CPU time and resident memory, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes together; one that has ended counts nothing."""
    return sum(_of(pid) for pid in pids)


def _of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def family(pid: int) -> set[int]:
    """The process and all its descendants."""
    found = {pid}
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found |= family(int(child))
    except OSError:
        pass  # it has just ended: what it had is not there either
    return found


def resident_mib(pid: int) -> float:
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def own_mib(pid: int) -> float:
    """USS: what ends with this very process. Pages that it shares with those it was forked from, or with the same files, are not in it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(each.split()[1]) for each in lines if each.startswith("Private_")) / 1024


def ran_seconds(pid: int) -> float:
    """CPU time of all its threads, to the nanosecond."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def wake_ups(pid: int) -> int:
    """How often any of its threads has waited for something, and was woken."""
    lines = [each for task in Path(f"/proc/{pid}/task").iterdir() for each in (task / "status").read_text().splitlines()]
    return sum(int(each.split()[1]) for each in lines if each.startswith("voluntary_ctxt_switches"))


class Meter:
    """CPU time by role between `start` and `stop`; a role is a set of processes."""

    def __init__(self, roles: Mapping[str, Iterable[int]]) -> None:
        self._roles = {name: list(pids) for name, pids in roles.items()}
        self._before: dict[str, float] = {}

    def start(self) -> None:
        self._before = self._read()

    def stop(self) -> dict[str, float]:
        return {name: seconds - self._before[name] for name, seconds in self._read().items()}

    def _read(self) -> dict[str, float]:
        return {name: cpu_seconds(pids) for name, pids in self._roles.items()}
