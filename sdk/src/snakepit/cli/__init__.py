"""The command line `snakepit`. This file imports next to nothing, so that Ctrl-C is answered from the first moment on."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Who sends these wants the program to end."""


def main() -> None:
    """Run the command in sys.argv and exit with one of the statuses of `codes`. A failure is one sentence on stderr."""
    # gRPC complains whenever a program with threads starts another; `snakepit dev` starts many, and forks none.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import snakepit._grpc_threads  # noqa: F401

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A terminal without … is shown how it is escaped, instead of an error.
            stream.reconfigure(errors="backslashreplace")
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)
    try:
        try:
            from snakepit.cli.app import run
        except ModuleNotFoundError as missing:
            _explain(missing)
            code = 1
        else:
            code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def leave(number: int, _: FrameType | None) -> None:
    """As after Ctrl-C, what a command has started ends with it."""
    raise SystemExit(128 + number)


def _explain(missing: ModuleNotFoundError) -> None:
    from snakepit import _extras

    print(f"snakepit: the module {missing.name!r} is missing. {_extras.CLI}", file=sys.stderr)
