"""Exit statuses, for scripts: what may be done after a failure. Pure; docs/command-line.md has the table."""

from __future__ import annotations

from snakepit.errors import DeadlineExceeded, PayloadTooLarge, SnakepitError, Started, Status, ToolError

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


def of(error: Exception) -> int:
    """The exit status after this failure."""
    if isinstance(error, ToolError):
        return RAISED
    if not isinstance(error, SnakepitError):
        return USAGE if isinstance(error, ValueError) else FAILED
    if isinstance(error, DeadlineExceeded):
        return TIMEOUT
    if error.started is not Started.NO:
        return MAY_HAVE_RUN
    return USAGE if error.status in _AGAIN_FAILS_AGAIN or isinstance(error, PayloadTooLarge) else NEVER_STARTED
