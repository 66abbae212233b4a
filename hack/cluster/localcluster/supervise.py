"""Owns the children of a PID 1: starts them, starts them again when they end, and reaps what is left by others."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from localcluster.shell import Failure

RESTART_SECONDS = 1.0
POLL_SECONDS = 0.05


class Supervisor:
    """Everything it starts writes to a log file of its own, `LOGS/NAME.log`."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[int, tuple[str, list[str], subprocess.Popen[bytes]]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, argv: Sequence[str | Path]) -> None:
        command = [str(argument) for argument in argv]
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running[process.pid] = (name, command, process)

    def run_forever(self) -> None:
        while True:
            pid, status = self._next_end()
            if pid in self._running:
                name, command, _ = self._running.pop(pid)
                say(f"{name} ended ({os.waitstatus_to_exitcode(status)}), starting it again")
                time.sleep(RESTART_SECONDS)
                self.start(name, command)

    def _next_end(self) -> tuple[int, int]:
        try:
            return os.wait()
        except ChildProcessError:
            time.sleep(RESTART_SECONDS)
            return 0, 0


def say(message: str) -> None:
    """One line of a PID 1's own log."""
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)


def wait_for(what: str, happened: Callable[[], bool], seconds: float) -> None:
    begun = time.monotonic()
    while not happened():
        if time.monotonic() - begun > seconds:
            raise Failure(f"{what}: not within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    say(f"{what}: after {time.monotonic() - begun:.1f} s")
