"""What Linux offers to processes that must not outlive each other: parent-death signals, subreaping, groups."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def adopt_orphans() -> None:
    """From now on, orphaned descendants become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Be killed when `parent` dies, and exit at once where it is dead already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """For `ps` and `top`, which show the last 15 characters."""
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[-15:]), 0, 0, 0)


def signal_group(pid: int, number: int) -> None:
    """To the group that `pid` leads, or to `pid` alone before it leads one. Nobody there is fine."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        signal_process(pid, number)


def signal_process(pid: int, number: int) -> None:
    """Send a signal to one process; nobody there is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def ended_children() -> Iterator[int]:
    """Children that have ended and wait to be reaped. The caller reaps each before it takes the next."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        yield found.si_pid


def is_child(pid: int) -> bool:
    """Whether `pid` is ours and not reaped yet. Any number may be asked for."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (OSError, OverflowError):
        return False
    return True


def has_ended(pid: int) -> bool:
    """Whether `pid` has gone, or waits to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] in ("Z", "X")


def children() -> list[int]:
    """All children of this process, adopted ones included."""
    return [int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
