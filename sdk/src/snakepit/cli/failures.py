"""Tells of what went wrong, on standard error: a sentence for people, one JSON object or YAML document for programs."""

from __future__ import annotations

import sys
from typing import Any

from snakepit.cli import codes
from snakepit.cli.output import Output
from snakepit.cli.plain import as_json, as_yaml
from snakepit.errors import SnakepitError, ToolError

USAGE = "USAGE"
"""The reason of what never was a request: a wrong option or configuration."""

_STARTED = "started: "


def sentence(error: Exception) -> str:
    """`REASON: message (notes)`, one line unless the message has several."""
    notes = getattr(error, "__notes__", [])
    told = f"{error} ({'; '.join(notes)})" if notes else str(error)
    return f"{error.reason}: {told}" if isinstance(error, SnakepitError) else told


def fields(error: Exception) -> dict[str, Any]:
    """What programs are told; documented as stable."""
    known: dict[str, Any] = {"reason": USAGE, "message": str(error), "exitCode": codes.of(error)}
    if isinstance(error, SnakepitError):
        known |= {"reason": error.reason, "message": error.message, "status": error.status.name, "started": started(error)}
        known |= {"details": dict(error.details), "retryAfterSeconds": error.retry_after}
    if isinstance(error, ToolError):
        known |= {"type": error.type, "traceback": error.traceback}
    if notes := [each for each in getattr(error, "__notes__", []) if not each.startswith(_STARTED)]:
        known["notes"] = notes
    return known


def of_started(error: SnakepitError) -> str:
    """The note that people are told; programs have a field."""
    return f"{_STARTED}{started(error)}"


def started(error: SnakepitError) -> str:
    """no, maybe, yes or unknown."""
    return error.started.name.lower()


def tell(error: Exception, output: Output) -> int:
    """Print it, and return the exit status."""
    if output.is_for_people:
        print(f"snakepit: {sentence(error)}", file=sys.stderr)
    else:
        say({"error": fields(error)}, output)
    return codes.of(error)


def say(what: dict[str, Any], output: Output) -> None:
    """Something beside the result, for programs."""
    text = as_json(what) + "\n" if output is Output.json else as_yaml(what, document=True)
    sys.stderr.write(text)
    sys.stderr.flush()
