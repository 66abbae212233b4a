"""`snakepit dev --debug`: a worker's stdin, stdout and stderr are the terminal, for `breakpoint()` and whatever else asks a person."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

VARIABLE = "SNAKEPIT_DEBUG_TERMINAL"


def terminal() -> str:
    """The terminal's path; empty: nobody debugs."""
    return os.environ.get(VARIABLE, "")


def attach(path: str) -> None:
    """In a worker. It is in no session with the terminal, so reading there can't stop it, and Ctrl-C there is not for it."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    for standard in (0, 1, 2):
        os.dup2(descriptor, standard)
    if descriptor > 2:
        os.close(descriptor)
    sys.stdin = sys.__stdin__ = _stream(0, "r")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, "w")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "w")  # type: ignore[misc]
    logging.basicConfig(level=logging.getLogger().level, format="%(levelname)s %(name)s: %(message)s", force=True)


def _stream(descriptor: int, mode: str) -> Any:
    return os.fdopen(descriptor, mode, buffering=1, closefd=False)
