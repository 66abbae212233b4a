"""Owns how other programs are run: what failed is said in a sentence, and nothing outlives the caller."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
CONTAINED = (*ENDS_WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""A process tree with mounts of its own that ends with the thread that started it, however that one ends. Namespaces need root."""

TAIL_LINES = 30
MOST_LOGGED = 5_000_000
"""Bytes of a log that is gone on with."""
OUTPUT_SECONDS = 900.0
"""Over any that we run, on a busy machine: a pull of an image, the wheels, the SBOMs."""


class Failure(Exception):
    """Something that the person at the keyboard has to know; the message is the whole answer."""


def output(*argv: str | Path, environment: Mapping[str, str] | None = None, seconds: float = OUTPUT_SECONDS) -> str:
    """Run a quick command for its output. It has no input, so that none waits for somebody to type."""
    command = [str(a) for a in argv]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failure(f"`{' '.join(command)}` took longer than {seconds:g} s") from error
    if done.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def fed(command: Sequence[str], write: Callable[[IO[bytes]], None]) -> None:
    """Run a command whose input is written by `write`."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            with process.stdin as pipe:
                write(pipe)
        except BrokenPipeError:
            pass  # It has ended, and says why.
        message = process.stderr.read().decode()
    if process.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed: {message.strip()}")


def succeeds(*argv: str | Path) -> bool:
    return subprocess.run([str(a) for a in argv], capture_output=True, check=False).returncode == 0


def logged(
    argv: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a long command, contained as far as we may, with its output in a file; a failure shows the end of it.

    The file has what earlier ones said, too, and is begun anew once that is long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MOST_LOGGED:
        log.unlink()
    command = [*(CONTAINED if os.geteuid() == 0 else ENDS_WITH_US), *map(str, argv)]
    with log.open("ab") as file:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=cwd, env=environment, check=False)
    if done.returncode != 0:
        raise Failure(f"`{' '.join(map(str, argv))}` failed ({done.returncode}).\n{tail(log)}\nAll of its output: {log}")


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, or nothing if there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
