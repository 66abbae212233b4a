"""`snakepit dev --debug` through a real pseudo-terminal, as a person sees it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import snakepit
from snakepit import sync
from support.dev_server import dev, pool_file, wait_until
from support.pages import blocks
from support.ports import free_port

ADAPTER = """
from snakepit import Adapter, tool

class Buggy(Adapter):
    @tool
    def half(self, number: int) -> float:
        result = number / 3
        breakpoint()
        return result
"""

SHOWN = """from snakepit import Adapter, tool


class Greetings(Adapter):
    @tool
    def greet(self, name: str) -> str:
        text = f"Hello, {name}"
        breakpoint()
        return text
"""
"""The adapter that the page on local mode has debugged."""


class Terminal:
    """`snakepit dev` in a pseudo-terminal."""

    def __init__(self, *words: str | Path) -> None:
        self.server = f"127.0.0.1:{free_port()}"
        self.screen = ""
        self._ours, theirs = pty.openpty()
        self.settings = termios.tcgetattr(theirs)
        command = [sys.executable, "-m", "snakepit.cli", "dev", *map(str, words), "--listen", self.server]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        self._theirs = theirs
        threading.Thread(target=self._read, daemon=True).start()

    def shows(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.screen.count(text) >= times, f"the terminal shows {text!r}, instead of:\n{self.screen}")

    def types(self, line: str) -> None:
        os.write(self._ours, line.encode() + b"\n")

    def ends(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 130
        assert termios.tcgetattr(self._theirs) == self.settings
        os.close(self._theirs)

    def _read(self) -> None:
        while True:
            try:
                self.screen += os.read(self._ours, 4096).decode(errors="replace")
            except OSError:
                return


def test_a_breakpoint_in_a_tool_talks_to_the_terminal_for_longer_than_any_deadline(tmp_path: Path) -> None:
    (tmp_path / "buggy.py").write_text(ADAPTER)
    file = pool_file(tmp_path, "buggy", "buggy:Buggy", worker="processes: 4", replicas="2", drain="{killAfterSeconds: 0}")
    terminal = Terminal(file, "--debug")
    with sync.Client(terminal.server) as client, ThreadPoolExecutor() as threads:
        terminal.shows("ready: the control plane is at")
        pool = client.pool("buggy")
        (worker,) = pool.workers()
        call = threads.submit(pool.call, "half", {"number": 6})
        terminal.shows("(Pdb) ")
        terminal.types("print('it is', result)")
        terminal.shows("it is 2.0")
        terminal.types("result = 3.5")
        terminal.types("continue")
        assert call.result(30) == 3.5
        impatient = threads.submit(pool.call, "half", {"number": 6}, timeout=3.0)
        terminal.shows("(Pdb) ", 4)
        with pytest.raises(snakepit.DeadlineExceeded):
            impatient.result(30)
        terminal.types("print('still', result)")
        terminal.shows("still 2.0")
        terminal.types("continue")
        (same,) = pool.workers()
        assert same.pid == worker.pid
        terminal.ends()


def columns(text: str) -> tuple[list[str], list[str]]:
    """What stands on the left and on the right of a page's transcript; the first line says where the right one begins."""
    lines = text.splitlines()
    at = lines[0].rindex("$ ")
    return [line[:at].rstrip() for line in lines], [line[at:] for line in lines if line[at:]]


def test_the_terminals_show_what_the_page_on_local_mode_shows(tmp_path: Path) -> None:
    (page,) = [block.text for block in blocks("docs/local-mode.md") if "(Pdb)" in block.text]
    (command, *shown), (call, answer) = columns(page)
    (tmp_path / "greetings.py").write_text(SHOWN)
    terminal = Terminal(pool_file(tmp_path, "greetings", "greetings:Greetings"), *command.removeprefix("$ snakepit dev pool.yaml ").split())
    terminal.shows("ready: the control plane is at")
    words = [sys.executable, "-m", "snakepit.cli", *call.removeprefix("$ snakepit ").split(), "--server", terminal.server]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as caller:
        for number, typed in enumerate((line.removeprefix("(Pdb) ") for line in shown if line.startswith("(Pdb) ")), 1):
            terminal.shows("(Pdb) ", number)
            terminal.types(typed)
        printed, _ = caller.communicate(timeout=30)
    assert printed == f"{answer}\n"
    said = "\n".join(line.rstrip() for line in terminal.screen.splitlines())
    assert re.search(".*".join(re.escape(part) for part in "\n".join(shown).split("…")), said), said
    terminal.ends()


def test_debugging_needs_a_terminal(tmp_path: Path) -> None:
    file = pool_file(tmp_path, "buggy", "buggy:Buggy")
    with dev(file, "--debug") as program:
        assert program.wait() == 2
        assert "--debug needs a terminal" in program.output
