"""Warnings at the line of the program that called us."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from contextvars import ContextVar
from types import FrameType
from typing import Any

from snakepit.errors import PayloadWarning

Place = tuple[str, int, dict[str, Any]]
"""File, line, and the globals of the module."""

caller: ContextVar[Place | None] = ContextVar("caller", default=None)
"""In a loop of ours, on whose behalf a program's thread waits: where that is."""

_OURS = ("snakepit.", "snakepit_worker.")


def place() -> Place:
    """The line of the program that called us."""
    _, frame = _outside(sys._getframe())
    return frame.f_code.co_filename, frame.f_lineno, frame.f_globals


def warn(sentences: Iterable[str]) -> None:
    """PayloadWarnings, at that line where there is one."""
    if elsewhere := caller.get():
        file, line, names = elsewhere
        for sentence in sentences:
            known = names.setdefault("__warningregistry__", {})
            warnings.warn_explicit(sentence, PayloadWarning, file, line, names.get("__name__"), known)
        return
    level, _ = _outside(sys._getframe())
    for sentence in sentences:
        warnings.warn(sentence, PayloadWarning, stacklevel=level)


def _outside(frame: FrameType) -> tuple[int, FrameType]:
    """The innermost frame that isn't ours, and its number."""
    level = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        level, frame = level + 1, frame.f_back
    return level, frame
