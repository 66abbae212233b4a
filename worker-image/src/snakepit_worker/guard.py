"""Outlives the keeper by a moment where it is not PID 1 (local mode): if the keeper is killed, what its workers had started ends too.

Workers themselves die with the keeper by a parent-death signal; their descendants would be left. It knows the keeper's marks, nothing else.
"""

from __future__ import annotations

import os
import signal
import time

from snakepit_worker.marks import Marks
from snakepit_worker.processes import signal_process

_ROUNDS = 1000
_PAUSE_SECONDS = 0.005


class Guard:
    """The keeper's view. `pid` is 0 where no guard is needed: the end of PID 1 ends its whole namespace."""

    def __init__(self, marks: Marks) -> None:
        self.pid = 0
        if os.getpid() != 1:
            reader, self._writer = os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self._writer)
                _stand_by(reader, marks)
            os.close(reader)

    def dismiss(self) -> None:
        """In good order."""
        if self.pid:
            os.close(self._writer)
            os.waitpid(self.pid, 0)


def _stand_by(reader: int, marks: Marks) -> None:
    """Never returns."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.read(reader, 1)
    for _ in range(_ROUNDS):
        if not (left := marks.everybody()):
            break
        for pid in left:
            signal_process(pid, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)
    os._exit(0)
