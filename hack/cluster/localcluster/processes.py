"""Owns finding and ending this program's own long-lived processes.

They are known by how their command line ends (`_sandbox STATE`, `_node STATE N`), not by a pid that was written down:
so they are found after a crash at any moment, seen from outside the cluster as well as from inside, and a pid that was
given to somebody else since can't be mistaken for one of them.
"""

import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
END_SECONDS = 20.0


@dataclass(frozen=True)
class Process:
    pid: int
    argv: tuple[str, ...]
    namespaced_pids: tuple[int, ...]

    @property
    def is_init(self) -> bool:
        """Is it PID 1 of a pid namespace? (The `unshare` above it has the same ending on its command line.)"""
        return self.namespaced_pids[-1:] == (1,)


def command_line(pid: int, proc: Path = PROC) -> tuple[str, ...]:
    """Empty for one that ended, also while nobody has asked for its exit status."""
    try:
        raw = (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(raw.decode(errors="replace").split("\0")[:-1])


def namespaced_pids(pid: int, proc: Path = PROC) -> tuple[int, ...]:
    """Its pid in each pid namespace from the reader's down to its own."""
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
    except OSError:
        return ()
    return next((tuple(map(int, line.split()[1:])) for line in lines if line.startswith("NSpid:")), ())


def ends_with(argv: Sequence[str], ending: Sequence[str]) -> bool:
    return len(argv) > len(ending) and tuple(argv[-len(ending) :]) == tuple(ending)


def find(*ending: str, proc: Path = PROC) -> list[Process]:
    """All processes whose command line ends like this."""
    pids = sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())
    lines = ((pid, command_line(pid, proc)) for pid in pids)
    return [Process(pid, argv, namespaced_pids(pid, proc)) for pid, argv in lines if ends_with(argv, ending)]


def find_init(*ending: str) -> Process | None:
    return next((process for process in find(*ending) if process.is_init), None)


def kill(process: Process) -> None:
    """Kill that very process and wait until it is gone; one that ended before is none of our business."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if command_line(process.pid) == process.argv:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], END_SECONDS)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
