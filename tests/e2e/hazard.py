"""The adapters of bad behaviour for the cluster tests; they get into the pods by a ConfigMap."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time

from snakepit import Adapter, tool


class Hazard(Adapter):
    @tool
    def whoami(self) -> int:
        return os.getpid()

    @tool
    def sleep(self, seconds: float) -> str:
        """A wait that an interrupt ends."""
        time.sleep(seconds)
        return "slept"

    @tool
    def hold_the_gil(self, seconds: int) -> str:
        """A C call that lets no other thread run."""
        ctypes.PyDLL(None).sleep(seconds)
        return "held"

    @tool
    def will_not_stop(self) -> None:
        """Swallows whatever it is told."""
        while True:
            try:
                while True:
                    time.sleep(0.05)
            except BaseException:
                continue

    @tool
    def eat(self, mebibytes: int) -> int:
        """Take so much memory, and use it."""
        eaten = [b"x" * (1 << 20) for _ in range(mebibytes)]
        return len(eaten)

    @tool
    def leave_a_child(self) -> int:
        """A grandchild in a session of its own, which outlives whoever does not look for it; -3 is subprocess.DEVNULL."""
        script = "import subprocess as s; print(s.Popen(['sleep', '86399'], stdout=-3, stderr=-3, start_new_session=True).pid)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return int(done.stdout)


class BadSignature(Adapter):
    @tool
    def never(self, *numbers: int) -> None:
        """Its schema can't be told."""
