"""Who is measured is not disturbed by whatever else the machine does: it runs in the kernel's real time, and attackers get what it leaves.

Servers, workers and the good client are equals among themselves. It takes root and Linux; for anybody else a quiet machine has to do.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MEASURED = bool(os.environ.get("SNAKEPIT_HOSTILE_SECONDS"))

PRIORITY = 1

BEFORE_OTHER_SESSIONS = "-20"


def first(pid: int) -> None:
    """That process, its threads, and whatever they start from now on; where nothing is measured, as everybody."""
    for thread in Path(f"/proc/{pid}/task").iterdir() if MEASURED else ():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(PRIORITY))


def last() -> None:
    """This process gets what those who are measured leave, and before the rest of the machine, where the kernel weighs sessions."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(BEFORE_OTHER_SESSIONS)
