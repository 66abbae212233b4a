"""What is found wrong with a pool."""

from __future__ import annotations

from typing import Any

from snakepit.client.findings import Finding, causes, of_pool, with_each_traceback_once
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


def test_a_pool_that_serves_with_fewer_capsules_than_it_should_have_is_found() -> None:
    (found,) = of_pool(pool(desired_capsules=3, ready_workers=2), [worker()])
    assert (found.about, found.reason) == ("default/digits", "CapsulesMissing")
    assert found.message.startswith("1 of 3 capsules are there, with 2 ready workers: ")


def test_a_worker_that_cant_start_is_found_with_the_authors_traceback() -> None:
    failing = worker(state="backoff", reason="SetupFailed", message="KeyError: 'MODEL'", traceback="Traceback ...")
    assert of_pool(pool(), [worker(), failing]) == [Finding("digits-0/0", "SetupFailed", "KeyError: 'MODEL'", "Traceback ...")]


def test_what_keeps_several_workers_from_starting_is_read_once() -> None:
    ids = ("digits-0/0", "digits-1/0", "digits-2/0")
    same = [worker(id=each, state="backoff", reason="SetupFailed", message="KeyError: 'MODEL'", traceback="Traceback ...") for each in ids]
    other = worker(id="digits-3/0", state="backoff", reason="SetupFailed", message="OSError: x", traceback="Traceback 2")
    assert list(causes([*same, other, worker()])) == [
        ("digits-0/0 and 2 more: SetupFailed: KeyError: 'MODEL'", "Traceback ..."),
        ("digits-3/0: SetupFailed: OSError: x", "Traceback 2"),
    ]
    found = list(with_each_traceback_once(of_pool(pool(), [*same, other])))
    assert [each.about for each in found] == [*ids, "digits-3/0"]
    assert [each.traceback for each in found] == ["Traceback ...", "", "", "Traceback 2"]


def test_a_worker_that_serves_while_its_successor_cant_start_is_found() -> None:
    serving = worker(reason="SuccessorFailed", message="ImportError: x", traceback="Traceback ...")
    assert [each.reason for each in of_pool(pool(), [serving])] == ["SuccessorFailed"]


def test_a_worker_that_is_started_again_is_found_with_why_the_one_before_ended() -> None:
    (found,) = of_pool(pool(), [worker(state="starting", reason="OutOfMemory", message="the worker ended: oom")])
    assert (found.reason, found.message) == ("OutOfMemory", "it is started again, as the worker ended: oom")


def test_a_worker_that_is_in_its_setup_for_the_first_time_is_a_note_and_nobody_says_that_it_is_started_again() -> None:
    (found,) = of_pool(pool(), [worker(state="starting", reason="Starting", message="setup() has been running for 3 s")])
    assert found == Finding("digits-0/0", "Starting", "setup() has been running for 3 s", severity="note")


def test_a_capsule_that_is_silent_is_found_by_its_workers() -> None:
    assert [each.reason for each in of_pool(pool(), [worker(liveness="suspect")])] == ["CapsuleSilent"]
