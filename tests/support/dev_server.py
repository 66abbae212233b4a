"""`snakepit dev`, or the demo, as a person runs it: a child process whose output is read, and whose descendants can be counted."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .ports import free_port

TESTS = Path(__file__).parents[1]
MARK = "SNAKEPIT_TEST_MARK"
READY_SECONDS = 30.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = READY_SECONDS) -> None:
    """Poll a condition; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never came true within {seconds:g} s: {what}"
        time.sleep(0.01)


class Program:
    """A program of ours, started; `lines` is what it printed so far."""

    def __init__(self, *command: str, cwd: Path | None = None, **environment: str) -> None:
        self.mark = secrets.token_hex(8)
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": path, MARK: self.mark, "COLUMNS": "200", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def says(self, text: str, seconds: float = READY_SECONDS) -> None:
        """Wait until it has printed the text."""
        end = time.monotonic() + seconds
        while text not in self.output:
            ended = self.process.poll() is not None and not self._reader.is_alive()
            assert not ended, f"it ended and never said {text!r}, only:\n{self.output}"
            assert time.monotonic() < end, f"it never said {text!r}, only:\n{self.output}"
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def wait(self, seconds: float = READY_SECONDS) -> int:
        """Its exit status."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def descendants(self) -> list[int]:
        """Every process that came of it and is there, itself included, wherever it was adopted."""
        mark = f"{MARK}={self.mark}".encode()
        return [int(each.name) for each in Path("/proc").glob("[0-9]*") if mark in _of(each.name, "environ").split(b"\0")]

    def running(self, module: str) -> list[int]:
        """Pids of those in whose command line it is."""
        return [pid for pid in self.descendants() if module.encode() in _of(pid, "cmdline")]

    def leaves_nothing(self, seconds: float = READY_SECONDS) -> None:
        wait_until(lambda: not self.descendants(), f"no process of it is left\n{self.output}", seconds)

    def end(self) -> None:
        """Whatever is left of it, at once."""
        self.send(signal.SIGKILL)
        self.wait()
        for pid in self.descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())


class Dev(Program):
    """`snakepit dev` with these pool files, on a free port; without a gateway, unless they ask for one."""

    def __init__(self, *arguments: str | Path, **environment: str) -> None:
        self.server = f"127.0.0.1:{free_port()}"
        words = [str(each) for each in arguments]
        words += [] if "--gateway" in words else ["--gateway", "off"]
        super().__init__(sys.executable, "-m", "snakepit.cli", "dev", *words, "--listen", self.server, **environment)

    @property
    def gateway(self) -> str:
        """Its URL, out of the first line."""
        self.says("console: ")
        return self.lines[0].partition("console: ")[2]

    def is_ready(self) -> None:
        self.says("ready: the control plane is at")


@contextlib.contextmanager
def dev(*arguments: str | Path, **environment: str) -> Iterator[Dev]:
    """Started, not yet ready; ended by force at the end."""
    program = Dev(*arguments, **environment)
    try:
        yield program
    finally:
        program.end()


@contextlib.contextmanager
def ready_dev(*arguments: str | Path, **environment: str) -> Iterator[Dev]:
    """Started, and ready; ended by force at the end."""
    with dev(*arguments, **environment) as program:
        program.is_ready()
        yield program


def pool_file(folder: Path, name: str, adapter: str, **spec: str) -> Path:
    """A pool file `NAME.yaml`: keywords are sections of the spec, as YAML."""
    sections = "".join(f"\n  {key}: {value}" for key, value in spec.items() if key != "worker")
    worker = spec.get("worker", "processes: 1")
    path = folder / f"{name}.yaml"
    path.write_text(
        "apiVersion: snakepit.dev/v1alpha1\nkind: SnakePool\n"
        f"metadata: {{name: {name}}}\nspec:\n  worker: {{adapter: {adapter!r}, {worker}}}{sections}\n"
    )
    return path


def _of(pid: int | str, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""
