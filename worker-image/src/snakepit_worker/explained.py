"""An exception of an author's code as text: bounded, with their own frames alone, whatever the class of it does."""

from __future__ import annotations

from typing import Any

from snakepit._values.strings import clipped, readable
from snakepit.author import tracebacks

TEXT = 32_000
"""Bytes of a message, and of a traceback: both have to fit into a packet of the control socket."""
_ROOM = 100
NAME = 200
MACHINERY = tracebacks.machinery(__file__)
"""Whose frames no author is shown."""


def explain(error: BaseException, hidden: tuple[str, ...] = MACHINERY) -> dict[str, Any]:
    """An exception as the fields `type`, `message` and `traceback` of our frames, whatever the author's class does.

    `hidden`: how the files begin whose frames are left out. The traceback is empty where there are no others.
    """
    try:
        trace = tracebacks.text(error, hidden)
    except Exception as again:  # not swallowed: it is the text
        trace = f"(formatting the traceback raised {type(again).__name__})"
    message = safe_text(error)
    whole = readable(message[:TEXT])
    text = clipped(whole, TEXT - _ROOM)
    cut = f"... ({len(message)} characters)" if len(message) > TEXT or text != whole else ""
    return {"type": clipped(readable(type(error).__name__), NAME), "message": text + cut, "traceback": _end(readable(trace[-TEXT:]))}


def _end(text: str) -> str:
    """Of a traceback, which says at its end what happened."""
    return text.encode()[-TEXT:].decode(errors="ignore")


def safe_text(error: BaseException) -> str:
    """str(error), also where the author's __str__ raises."""
    try:
        return str(error)
    except Exception as again:  # not swallowed: it is the text
        return f"({type(error).__name__}.__str__ raised {type(again).__name__})"
