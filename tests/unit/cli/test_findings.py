"""What `snakepit doctor` finds."""

from __future__ import annotations

from typing import Any

from snakepit.cli.findings import Finding, of_pool
from snakepit.client.views import PoolInfo, WorkerInfo


def pool(**changed: Any) -> PoolInfo:
    usual = {
        "name": "default/digits",
        "available": True,
        "reason": "WorkersReady",
        "message": "",
        "desired_capsules": 1,
        "live_capsules": 1,
    }
    counts = {"ready_workers": 1, "busy_slots": 0, "total_slots": 1, "queue_depth": 0, "sessions": 0, "generation": 1}
    return PoolInfo(**{**usual, **counts, **changed})


def worker(**changed: Any) -> WorkerInfo:
    usual = {"id": "digits-0/0", "incarnation": "x", "state": "ready", "liveness": "live", "reason": "", "message": ""}
    counts = ("slots", "running", "served", "restarts", "rss_bytes", "setup_seconds", "oldest_running_seconds", "age_seconds", "pid")
    return WorkerInfo(**{**usual, **dict.fromkeys(counts, 0), **changed})


def test_nothing_is_found_where_all_is_well_or_no_workers_are_wanted() -> None:
    assert of_pool(pool(), [worker(), worker(state="draining"), worker(state="starting")]) == []
    assert of_pool(pool(available=False, reason="Suspended", desired_capsules=0), []) == []


def test_a_pool_that_cant_serve_says_why_and_what_is_there() -> None:
    (found,) = of_pool(pool(available=False, reason="NoCapsules", message="no capsule has linked", live_capsules=0, ready_workers=0), [])
    assert (found.about, found.reason) == ("default/digits", "NoCapsules")
    assert found.message == "no capsule has linked (0 of 1 capsules are there, with 0 ready workers)"


def test_a_worker_that_cant_start_is_found_with_the_authors_traceback() -> None:
    failing = worker(state="backoff", reason="SetupFailed", message="KeyError: 'MODEL'", traceback="Traceback ...")
    assert of_pool(pool(), [worker(), failing]) == [Finding("digits-0/0", "SetupFailed", "KeyError: 'MODEL'", "Traceback ...")]


def test_a_worker_that_serves_while_its_successor_cant_start_is_found() -> None:
    serving = worker(reason="SuccessorFailed", message="ImportError: x", traceback="Traceback ...")
    assert [each.reason for each in of_pool(pool(), [serving])] == ["SuccessorFailed"]


def test_a_worker_that_is_started_again_is_found_with_why_the_one_before_ended() -> None:
    (found,) = of_pool(pool(), [worker(state="starting", reason="OutOfMemory", message="the worker ended: oom")])
    assert (found.reason, found.message) == ("OutOfMemory", "it is started again, as the worker ended: oom")


def test_a_capsule_that_is_silent_is_found_by_its_workers() -> None:
    assert [each.reason for each in of_pool(pool(), [worker(liveness="suspect")])] == ["suspect"]
