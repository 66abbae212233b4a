"""Which of a capsule's workers have ended a life, as the control plane hears of them, and how many slots there are meanwhile."""

from __future__ import annotations

import pytest

from snakepit.spec import decode_spec
from snakepit.v1 import pool_pb2
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Pool
from support.simulated_agent import POOL, settings

READY, STARTING, UNKNOWN = pool_pb2.WORKER_STATE_READY, pool_pb2.WORKER_STATE_STARTING, pool_pb2.WORKER_STATE_UNSPECIFIED


@pytest.fixture
def capsule() -> Capsule:
    return Capsule("c", "i", POOL, "", 0.0)


@pytest.fixture
def pool(capsule: Capsule) -> Pool:
    given = settings(replicas=1)
    pool = Pool(given, decode_spec(given.spec), 0.0)
    pool.capsules["i"] = capsule
    return pool


def report(state: pool_pb2.WorkerState, *incarnations: str) -> list[pool_pb2.Worker]:
    return [pool_pb2.Worker(id=f"c/{at}", incarnation=name, state=state, slots=1) for at, name in enumerate(incarnations)]


def test_workers_that_were_not_started_yet_have_not_ended_when_they_are(pool: Pool, capsule: Capsule) -> None:
    assert pool.update(capsule, report(UNKNOWN, "", "", ""), 0.0) == []
    assert pool.slots == 3
    assert pool.update(capsule, report(STARTING, "a", "b", "c"), 1.0) == []
    assert pool.slots == 3
    assert set(pool.workers) == {"c/0", "c/1", "c/2"}


def test_a_worker_in_whose_place_another_one_is_has_ended(pool: Pool, capsule: Capsule) -> None:
    pool.update(capsule, report(READY, "a", "b"), 0.0)
    assert [each.incarnation for each in pool.update(capsule, report(READY, "a", "d"), 1.0)] == ["b"]
    assert pool.slots == 2
    assert pool.why_gone("c/1", "b") == "crashed"


def test_workers_of_a_capsule_that_was_given_up_have_ended_once_whatever_it_says_when_it_comes_back(pool: Pool, capsule: Capsule) -> None:
    pool.update(capsule, report(READY, "a", "b"), 0.0)
    pool.remove(capsule, "lost", 1.0)
    returned = Capsule("c", "j", POOL, "", 2.0)
    pool.capsules["j"] = returned
    pool.update(returned, report(pool_pb2.WORKER_STATE_STOPPED, "a", "b"), 2.0)
    pool.remove(returned, "evicted", 3.0)
    assert dict(pool.ends) == {"lost": 2}
    assert pool.why_gone("c/0", "a") == "lost"


def test_a_life_that_was_found_to_be_over_for_a_sessions_sake_is_counted_when_its_capsule_is_given_up(pool: Pool, capsule: Capsule) -> None:
    pool.update(capsule, report(READY, "a"), 0.0)
    pool.note_end("a", "lost")
    assert not pool.ends.total()
    pool.remove(capsule, "lost", 1.0)
    assert dict(pool.ends) == {"lost": 1}


def test_a_worker_that_never_began_has_no_end(pool: Pool, capsule: Capsule) -> None:
    pool.update(capsule, report(UNKNOWN, ""), 0.0)
    pool.remove(capsule, "lost", 1.0)
    assert not pool.ends
