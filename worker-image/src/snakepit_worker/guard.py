"""Outlives the keeper by a moment where it is not PID 1 (local mode): if the keeper is killed, what workers had started ends too.

Workers themselves die with the keeper by a parent-death signal; their children would be left. It knows process groups, nothing else.
"""

from __future__ import annotations

import os
import signal
import struct

from snakepit_worker.processes import signal_group

_NOTE = struct.Struct("<i")


class Guard:
    """The keeper's view. `pid` is 0 where no guard is needed: the end of PID 1 ends its whole namespace."""

    def __init__(self) -> None:
        self.pid = 0
        if os.getpid() != 1:
            reader, self._writer = os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self._writer)
                _stand_by(reader)
            os.close(reader)

    def watch(self, group: int) -> None:
        """The group is there from now on."""
        self._note(group)

    def forget(self, group: int) -> None:
        """The group has been killed."""
        self._note(-group)

    def dismiss(self) -> None:
        """In good order."""
        if self.pid:
            os.close(self._writer)
            os.waitpid(self.pid, 0)

    def _note(self, number: int) -> None:
        if self.pid:
            os.write(self._writer, _NOTE.pack(number))


def _stand_by(reader: int) -> None:
    """Never returns."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    while note := os.read(reader, _NOTE.size):
        (number,) = _NOTE.unpack(note)
        (groups.add if number > 0 else groups.discard)(abs(number))
    for group in groups:
        signal_group(group, signal.SIGKILL)
    os._exit(0)
