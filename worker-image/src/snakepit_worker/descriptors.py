"""What a process has open, and which of it can't be had by several: connections, pipes, files with a position to read at, devices.

A fork shares more than the number of a descriptor: whoever reads moves the place where the others read on.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import os
import socket
import stat
from collections import Counter
from pathlib import Path
from typing import NamedTuple

DEVICES = "/dev/nvidia*"
"""Those that are open once CUDA is in use."""
MOST_NAMED = 3
_NAME = 120


class Open(NamedTuple):
    """A descriptor, and what it is of: a path, or `pipe:[NUMBER]` and the like."""

    number: int
    target: str


def opened() -> set[Open]:
    """Everything that this process has open now."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very listing
            found.add(Open(int(each.name), str(each.readlink())))
    return found


def hindrances(before: set[Open], devices: str = DEVICES) -> list[str]:
    """What is open now, was not then, and can't be shared with a fork; each kind as part of a sentence.

    A copy of a descriptor that was there before is none: it is the log's.
    """
    known = {each.target for each in before}
    new = sorted(each for each in opened() - before if not _is_shared(each.target) or each.target not in known)
    found: dict[str, list[str]] = {"open socket": [], "open pipe": [], "open file": []}
    used = [each.target for each in new if fnmatch.fnmatch(each.target, devices)]
    mapped: set[str] | None = None
    for each in new:
        if each.target.startswith("socket:"):
            found["open socket"].append(_peer(each.number))
        elif is_fifo(each.number):
            found["open pipe"].append("" if each.target.startswith("pipe:") else each.target)
        elif has_a_position(each.number):
            mapped = _mapped() if mapped is None else mapped
            if each.target not in mapped:
                found["open file"].append(each.target)
    return [*(counted(what, names) for what, names in found.items() if names), *([cuda(used[0])] if used else [])]


def cuda(who: str) -> str:
    """A sentence's part that says that CUDA is in use already."""
    return f"CUDA in use ({who}: load on the CPU at import, and move to the device in setup())"


def counted(what: str, names: list[str]) -> str:
    """`3 open files (2 x /a, /b)`; no more than a few different names."""
    counts = Counter(f"…{name[-_NAME:]}" if len(name) > _NAME else name for name in names if name)
    shown = [f"{count} x {name}" if count > 1 else name for name, count in counts.items()]
    more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
    which = f" ({', '.join(shown[:MOST_NAMED])}{more})" if shown else ""
    plural = ("es" if what.endswith("s") else "s") if len(names) > 1 else ""
    return f"{len(names)} {what}{plural}{which}"


def has_a_position(descriptor: int) -> bool:
    """A regular file that is read, not only written or appended to."""
    with contextlib.suppress(OSError):
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        reads = flags & os.O_ACCMODE != os.O_WRONLY and not flags & (os.O_APPEND | os.O_PATH)
        return bool(reads) and stat.S_ISREG(os.fstat(descriptor).st_mode)
    return False


def is_fifo(descriptor: int) -> bool:
    """Is the descriptor a pipe, with or without a name?"""
    with contextlib.suppress(OSError):
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    return False


def _is_shared(target: str) -> bool:
    """Of these each one is another: a file of the same path may have been opened twice."""
    return target.startswith(("pipe:", "socket:"))


def _mapped() -> set[str]:
    """Files of which parts are mapped: `mmap`, `numpy.memmap` and `pyarrow.memory_map` keep a descriptor that they don't read from."""
    lines = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    return {fields[5] for line in lines if len(fields := line.split(maxsplit=5)) == 6}


def _peer(descriptor: int) -> str:
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        try:
            peer = sock.getpeername()
        except OSError:
            return "not connected"
    return ":".join(map(str, peer[:2])) if isinstance(peer, tuple) else str(peer or "a pair")
