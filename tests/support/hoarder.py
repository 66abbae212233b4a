"""An adapter that is recycled: its tools eat memory, hold their worker until a test opens a gate, and say which process ran them."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import time
from pathlib import Path

from snakepit import Adapter, Context, tool


class Hoarder(Adapter):
    """SHUT names a file; while it is there, no worker gets through setup()."""

    def setup(self) -> None:
        if (shut := os.environ.get("SHUT")) and Path(shut).exists():
            raise RuntimeError("the licence has expired")
        self.hoard: list[bytearray] = []

    def on_drain(self) -> None:
        self._note("on_drain")

    def teardown(self) -> None:
        self._note("teardown")

    def _note(self, what: str) -> None:
        if path := os.environ.get("NOTES"):
            with Path(path).open("a") as file:
                file.write(f"{what} {os.getpid()}\n")

    @tool
    def pid(self, seconds: float = 0.0) -> int:
        time.sleep(seconds)
        return os.getpid()

    @tool
    def wait(self, gate: str, mebibytes: int = 0, *, ctx: Context) -> int:
        """Eat so much, say so, and wait until the file `gate` is there."""
        self.hoard.append(bytearray(os.urandom(1)) * (mebibytes << 20))
        ctx.progress(0.0, "begun")
        while not Path(gate).exists():
            time.sleep(0.005)
        self._note("waited")
        return os.getpid()

    @tool
    def spin_in_c(self, mebibytes: int, *, ctx: Context) -> int:
        """Eat so much, and then hold the interpreter for some seconds: no other thread of the process runs."""
        self.hoard.append(bytearray(os.urandom(1)) * (mebibytes << 20))
        ctx.progress(0.0, "begun")
        sum(range(60_000_000))
        return os.getpid()


class Shared(Hoarder):
    thread_safe = True


class Late(Hoarder):
    """Has something to do when its interpreter ends."""

    def setup(self) -> None:
        super().setup()
        atexit.register(self._note, "exit")


class Clinging(Hoarder):
    """Its teardown does not return, and TERM does not end it."""

    def setup(self) -> None:
        super().setup()
        signal.signal(signal.SIGTERM, lambda *_: self._note("term"))

    def teardown(self) -> None:
        super().teardown()
        while True:
            time.sleep(600)


class Parental(Clinging):
    """Has a child, which notes that it was told to end."""

    def setup(self) -> None:
        super().setup()
        script = "trap 'echo child >> $NOTES; exit' TERM; echo ready; while :; do sleep 0.02; done"
        self.child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
        assert self.child.stdout is not None
        self.child.stdout.readline()
