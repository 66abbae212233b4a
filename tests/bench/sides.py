"""Programs that benchmarks compare with, out of an environment of their own: `make bench` makes .venv-bench, which nothing else needs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.bench.plane import BUILD, HERE

CHECKOUT = HERE.parent.parent
PYTHON = CHECKOUT / ".venv-bench/bin/python"
END_SECONDS = 30

Program = subprocess.Popen[str]
Start = Callable[..., Program]


@contextmanager
def programs(name: str) -> Iterator[Start]:
    """What starts `python -m ...`, in a folder of theirs, and after all of it ends them, the last one first. stderr is in build/."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is not there: `make bench` makes it, with {name} in it")
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, (BUILD / f"bench-{name}.log").open("w") as output, ExitStack() as stack:

        def start(*argv: str, within: Sequence[str] = (), **environment: str) -> Program:
            own = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TMPDIR": folder, **environment}
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": output}
            process = subprocess.Popen([*within, PYTHON, "-m", *argv], env=own, cwd=folder, text=True, **streams)
            stack.callback(_end, process)
            return process

        yield start


def _end(process: Program) -> None:
    """Those that read their input end with it, the others on TERM."""
    process.terminate()
    try:
        process.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def said(process: Program) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def calls_per_second(process: Program, callers: int) -> float:
    """Of a round, by a program that ends in `rounds.answer`, or does the same."""
    assert process.stdin is not None
    process.stdin.write(f"{callers}\n")
    process.stdin.flush()
    return float(await asyncio.to_thread(said, process))
