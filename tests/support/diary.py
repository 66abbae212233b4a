"""An adapter for sessions: its tools leave a line in a journal when they begin and end, and wait for a gate that a test opens."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from snakepit import Adapter, Context, SnakepitError, tool


def write(journal: str, line: str) -> None:
    """One line at once: the processes of a test share the file."""
    with Path(journal).open("a") as file:
        file.write(line + "\n")


class Diary(Adapter):
    thread_safe = True
    journal = ""

    def on_session_end(self, session_id: str) -> None:
        if self.journal:
            write(self.journal, f"ended {session_id}")

    @tool
    def where(self, journal: str = "") -> int:
        """Which process this is; `journal`: where the ends of sessions go from now on."""
        self.journal = journal or self.journal
        return os.getpid()

    @tool
    def note(self, journal: str, text: str, seconds: float = 0.0) -> int:
        write(journal, f"begin {text}")
        time.sleep(seconds)
        write(journal, f"end {text}")
        return os.getpid()

    @tool
    def wait(self, journal: str, text: str, gate: str, *, ctx: Context) -> int:
        """Until the file `gate` is there."""
        write(journal, f"{text} in {os.getpid()}")
        write(journal, f"begin {text}")
        while not Path(gate).exists():
            ctx.check()
            time.sleep(0.002)
        write(journal, f"end {text}")
        return os.getpid()

    @tool
    def insist(self, journal: str, gate: str, *, ctx: Context) -> str:
        """Does not stop when it is told to: waits for the gate, then writes, and answers as if nothing had been."""
        write(journal, "begin insist")
        while True:
            try:
                if Path(gate).exists():
                    break
                time.sleep(0.002)
            except BaseException:
                write(journal, "told to stop")
        try:
            ctx.state.set("k", "late")
        except SnakepitError as error:
            write(journal, f"refused {error.reason}")
        return "late"

    @tool
    def remember(self, key: str, value: object, *, ctx: Context) -> int:
        return ctx.state.set(key, value)

    @tool
    def swap(self, key: str, value: object, expected: int, *, ctx: Context) -> bool:
        return ctx.state.compare_and_set(key, value, expected)

    @tool
    def recall(self, key: str, *, ctx: Context) -> list[Any]:
        """Value and version, and how the process is called."""
        value, version = ctx.state.get_versioned(key)
        return [value, version, os.getpid()]
