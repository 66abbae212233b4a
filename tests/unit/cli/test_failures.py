"""Each failure has one exit status, and the page of the command line has all of them."""

from __future__ import annotations

import json

import pytest

from snakepit.cli import failures
from snakepit.cli.failures import ExitStatus, exit_status
from snakepit.cli.output import Output
from snakepit.errors import (
    BY_REASON,
    DeadlineExceeded,
    InvalidArguments,
    PayloadTooLarge,
    PoolNotFound,
    PoolNotReady,
    PoolSaturated,
    QueueTimeout,
    ServerUnavailable,
    SnakepitError,
    Started,
    ToolError,
    ToolNotFound,
    Unauthenticated,
    WorkerLost,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ToolError("KeyError", "a"), ExitStatus.RAISED),
        (DeadlineExceeded("late", started=Started.NO), ExitStatus.TIMEOUT),
        (DeadlineExceeded("late", started=Started.MAYBE), ExitStatus.TIMEOUT),
        (PoolSaturated("full"), ExitStatus.NEVER_STARTED),
        (PoolNotReady("not yet"), ExitStatus.NEVER_STARTED),
        (PoolSaturated("full", started=Started.MAYBE), ExitStatus.MAY_HAVE_RUN),
        (WorkerLost("gone"), ExitStatus.MAY_HAVE_RUN),
        (SnakepitError("who knows"), ExitStatus.MAY_HAVE_RUN),
        (PayloadTooLarge("the result", started=Started.YES), ExitStatus.MAY_HAVE_RUN),
        (PayloadTooLarge("the arguments"), ExitStatus.USAGE),
        (InvalidArguments("wrong"), ExitStatus.USAGE),
        (PoolNotFound("none"), ExitStatus.USAGE),
        (Unauthenticated("who?"), ExitStatus.USAGE),
        (ValueError("no address"), ExitStatus.USAGE),
        (OSError("broken"), ExitStatus.FAILED),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, Exception) else None,
)
def test_a_failure_has_the_status_that_says_what_may_be_done(error: Exception, code: int) -> None:
    assert exit_status(error) == code


def test_nothing_that_may_have_started_is_ever_called_safe_to_try_again() -> None:
    for kind in BY_REASON.values():
        for started in (Started.MAYBE, Started.YES, Started.UNKNOWN):
            assert exit_status(kind("a sentence", started=started)) in (ExitStatus.MAY_HAVE_RUN, ExitStatus.TIMEOUT), kind


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ToolError("KeyError", "a", ""), "started: yes, call c0ffee"),
        (QueueTimeout("it waited"), "started: no, call c0ffee"),
        (ServerUnavailable("nobody answers"), "started: no"),
        (ToolNotFound("no such tool"), "started: no"),
    ],
)
def test_people_are_told_which_call_it_was_where_something_is_known_of_it(error: SnakepitError, told: str) -> None:
    error.call_id = "c0ffee"
    assert failures.of_started(error) == told


def test_people_are_told_one_sentence_and_programs_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    error = WorkerLost("it died", details={"how": "oom"}, retry_after=1.5)
    error.add_note(failures.of_started(error))
    error.add_note("waited 3 s")
    assert failures.tell(error, Output.table) == ExitStatus.MAY_HAVE_RUN
    assert capsys.readouterr() == ("", "snakepit: WORKER_LOST: it died (started: maybe; waited 3 s)\n")
    failures.tell(error, Output.json)
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "reason": "WORKER_LOST",
            "message": "it died",
            "exitCode": 5,
            "status": "ABORTED",
            "started": "maybe",
            "details": {"how": "oom"},
            "retryAfterSeconds": 1.5,
            "notes": ["waited 3 s"],
        }
    }
    failures.tell(ToolError("KeyError", "a", "Traceback …"), Output.yaml)
    said = capsys.readouterr().err
    assert said.startswith("---\nerror:\n  reason: TOOL_ERROR\n")
    assert "  type: KeyError\n  traceback: Traceback …\n" in said
