"""Warnings at the line of the program that called us."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable

from snakepit.errors import PayloadWarning

_OURS = ("snakepit.", "snakepit_worker.")


def _is_ours(module: str) -> bool:
    return module.startswith(_OURS)


def warn(sentences: Iterable[str]) -> None:
    """PayloadWarnings, at that line where there is one."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    for sentence in sentences:
        warnings.warn(sentence, PayloadWarning, stacklevel=level)
