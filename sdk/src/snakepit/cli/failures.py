"""What went wrong: the exit status, for scripts, and what is said of it on standard error, for people and for programs.

docs/command-line.md has the table of statuses.
"""

from __future__ import annotations

import enum
from typing import Any

from snakepit.cli.output import Output, say
from snakepit.errors import DeadlineExceeded, PayloadTooLarge, ServerUnavailable, SnakepitError, Started, Status, ToolError


class ExitStatus(enum.IntEnum):
    """What a script may do after a command has ended with this status."""

    OK = 0
    FAILED = 1
    """Something else than a request failed, or `doctor` found something."""
    USAGE = 2
    """Nothing ran, and the same again fails again: wrong options, arguments, names or credentials."""
    RAISED = 3
    """The tool ran and raised."""
    NEVER_STARTED = 4
    """Nothing ran: the same may be tried again."""
    MAY_HAVE_RUN = 5
    """Nobody knows whether the tool has run."""
    TIMEOUT = 6
    """The deadline passed; `started` says whether the tool may have run."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it."""


_AGAIN_FAILS_AGAIN = {
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.PERMISSION_DENIED,
    Status.UNAUTHENTICATED,
    Status.FAILED_PRECONDITION,
}


def exit_status(error: Exception) -> ExitStatus:
    """Choose the exit status after this failure."""
    if isinstance(error, ToolError):
        return ExitStatus.RAISED
    if not isinstance(error, SnakepitError):
        return ExitStatus.USAGE if isinstance(error, ValueError) else ExitStatus.FAILED
    if isinstance(error, DeadlineExceeded):
        return ExitStatus.TIMEOUT
    if error.started is not Started.NO:
        return ExitStatus.MAY_HAVE_RUN
    return ExitStatus.USAGE if error.status in _AGAIN_FAILS_AGAIN or isinstance(error, PayloadTooLarge) else ExitStatus.NEVER_STARTED


USAGE_REASON = "USAGE"
"""The reason of what never was a request: a wrong option or configuration."""

_STARTED = "started: "


def sentence(error: Exception) -> str:
    """Put a failure as `REASON: message (notes)`: one line, unless the message has several."""
    notes = getattr(error, "__notes__", [])
    told = f"{error} ({'; '.join(notes)})" if notes else str(error)
    return f"{error.reason}: {told}" if isinstance(error, SnakepitError) else told


def fields(error: Exception) -> dict[str, Any]:
    """The fields that programs are told. They are documented as stable."""
    known: dict[str, Any] = {"reason": USAGE_REASON, "message": str(error), "exitCode": exit_status(error)}
    if isinstance(error, SnakepitError):
        known |= {"reason": error.reason, "message": error.message, "status": error.status.name, "started": error.started}
        known |= {"details": dict(error.details), "retryAfterSeconds": error.retry_after}
    if isinstance(error, SnakepitError) and error.call_id:
        known["callId"] = error.call_id
    if isinstance(error, ToolError):
        known |= {"type": error.type, "traceback": error.traceback}
    if notes := [each for each in getattr(error, "__notes__", []) if not each.startswith(_STARTED)]:
        known["notes"] = notes
    return known


def of_started(error: SnakepitError) -> str:
    """A note that tells people whether the tool may have run, and which call it was. Programs have fields for it.

    Without an id: what the control plane never got, and what fails again whatever is known of it.
    """
    is_known = error.call_id and not isinstance(error, ServerUnavailable) and exit_status(error) is not ExitStatus.USAGE
    return f"{_STARTED}{error.started}" + (f", call {error.call_id}" if is_known else "")


def tell(error: Exception, output: Output) -> int:
    """Print a failure on standard error, and return the exit status."""
    say(f"snakepit: {sentence(error)}", {"error": fields(error)}, output)
    return exit_status(error)
