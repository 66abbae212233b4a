"""An exception as its author reads it: without the frames of what runs the author's code. It reads source lines, and nothing else."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path

_FROZEN = ("<frozen importlib", "<frozen runpy")
_LIBRARY = ("importlib", "asyncio", "concurrent/futures")


def machinery(*packages: str) -> tuple[str, ...]:
    """How the files begin whose frames are no author's: ours, importlib's and asyncio's. `packages`: a file of each other one of ours."""
    library = Path(os.__file__).parent
    ours = (f"{Path(each).parent}/" for each in (__file__, *packages))
    return (*_FROZEN, *(f"{library}/{each}/" for each in _LIBRARY), *ours)


def text(error: BaseException, machinery: tuple[str, ...]) -> str:
    """The traceback, with its causes. Empty: no frame of it is the author's, and it would say no more than the message.

    Raises whatever the author's exception raises when it is looked at.
    """
    whole = traceback.TracebackException.from_exception(error)
    seen = False
    for each in _chain(whole):
        frames = [frame for frame in each.stack if not frame.filename.startswith(machinery)]
        seen = seen or bool(frames)
        # None: not even the line that announces frames.
        each.stack = traceback.StackSummary.from_list(frames) if frames else None  # type: ignore[assignment]
    lines = list(whole.format())
    return "".join(lines) if seen or len(lines) > 1 else ""


def _chain(error: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """It, what caused it, what it was raised in the handling of, and the parts of groups."""
    waiting = [error]
    while waiting:
        each = waiting.pop()
        yield each
        related = (each.__cause__, each.__context__, *(each.exceptions or ()))
        waiting += [other for other in related if other is not None]
