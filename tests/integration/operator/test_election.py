"""One leader at a time, by the Lease of a real API server. Time is what the test says it is, but for what an answer may take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from snakepit_operator.kube import LEASES, Kube
from snakepit_operator.leases import LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, Election
from support.admin import Admin, Refused
from support.api_server import SYSTEM
from support.gate import Gate

NAME = "snakepit-operator"
PATH = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{NAME}"

LEFT_SECONDS = 3.0
"""An answer has so long where a renewal is soon due: a second is too little on a busy machine."""

Candidate = Callable[[str], Election]


@pytest.fixture(autouse=True)
async def lease(admin: Admin) -> AsyncIterator[None]:
    """The chart's, which nobody holds yet."""
    before = await admin.ask("GET", PATH)
    await admin.ask("PUT", PATH, {**before, "spec": {}})
    yield
    metadata = {"name": NAME, "namespace": SYSTEM, "labels": before["metadata"]["labels"]}
    with contextlib.suppress(Refused):  # a test may have deleted it
        await admin.ask("DELETE", PATH)
    await admin.ask("POST", PATH.rpartition("/")[0], {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})


@pytest.fixture
def candidate(kube: Kube) -> Candidate:
    return lambda identity: Election(kube, SYSTEM, NAME, identity)


async def spec(admin: Admin) -> dict[str, Any]:
    return dict((await admin.ask("GET", PATH))["spec"])


async def test_a_lease_that_nobody_holds_is_taken_and_says_who_has_it(candidate: Candidate, admin: Admin) -> None:
    one = candidate("one")
    await one.round(100.0)
    assert one.leading.is_set()
    assert not one.lost.is_set()
    found = await spec(admin)
    assert (found["holderIdentity"], found["leaseDurationSeconds"], found["leaseTransitions"]) == ("one", LEASE_SECONDS, 1)


async def test_a_live_lease_is_not_taken(candidate: Candidate, admin: Admin) -> None:
    one, other = candidate("one"), candidate("other")
    now = 100.0
    await one.round(now)
    for _ in range(20):
        now += RETRY_SECONDS
        await other.round(now)
        await one.round(now)
        assert one.leading.is_set()
        assert not other.leading.is_set()
    assert (await spec(admin))["leaseTransitions"] == 1


async def test_a_lease_that_is_not_renewed_is_taken_after_its_duration_and_no_sooner(candidate: Candidate, admin: Admin) -> None:
    gone, heir = candidate("gone"), candidate("heir")
    await gone.round(100.0)
    await heir.round(1000.0)
    await heir.round(1000.0 + LEASE_SECONDS)
    assert not heir.leading.is_set()
    await heir.round(1000.1 + LEASE_SECONDS)
    assert heir.leading.is_set()
    found = await spec(admin)
    assert (found["holderIdentity"], found["leaseTransitions"]) == ("heir", 2)


async def test_who_was_thought_dead_and_comes_back_sees_that_another_leads(candidate: Candidate) -> None:
    slow, heir = candidate("slow"), candidate("heir")
    await slow.round(100.0)
    await heir.round(100.0)
    await heir.round(100.1 + LEASE_SECONDS)
    await slow.round(100.2 + LEASE_SECONDS)
    assert not slow.leading.is_set()
    assert slow.lost.is_set()
    assert heir.leading.is_set()


async def test_a_leader_of_an_api_server_that_can_not_be_reached_leads_on_until_its_renewal_is_due_and_then_no_more(
    candidate: Candidate, door: Gate
) -> None:
    one = candidate("one")
    await one.round(100.0)
    await door.shut()
    await one.round(100.0 + RENEW_SECONDS - LEFT_SECONDS)
    assert one.leading.is_set()
    await one.round(100.0 + RENEW_SECONDS)
    assert not one.leading.is_set()
    assert one.lost.is_set()
    await door.open()
    await one.round(100.0 + RENEW_SECONDS + RETRY_SECONDS)
    assert one.leading.is_set()


async def test_each_renewal_starts_the_time_of_the_next_one(candidate: Candidate, door: Gate) -> None:
    one = candidate("one")
    await one.round(100.0)
    await one.round(100.0 + RENEW_SECONDS - LEFT_SECONDS)
    await door.shut()
    await one.round(100.0 + 2 * (RENEW_SECONDS - LEFT_SECONDS))
    assert one.leading.is_set()


async def test_an_api_server_that_says_nothing_makes_nobody_lead_longer_than_its_time(candidate: Candidate, door: Gate) -> None:
    """A request may take ten seconds, and a round has two: another one would lead by then."""
    one = candidate("one")
    await one.round(100.0)
    door.swallow()
    began = time.monotonic()
    await one.round(100.0 + RENEW_SECONDS - 0.3)
    assert not one.leading.is_set()
    assert 0.3 <= time.monotonic() - began < RENEW_SECONDS / 2


async def test_who_does_not_lead_does_not_by_a_failure(candidate: Candidate, door: Gate) -> None:
    one = candidate("one")
    await door.shut()
    await one.round(1.0)
    assert not one.leading.is_set()


async def test_of_those_that_begin_at_once_one_leads(candidate: Candidate, admin: Admin) -> None:
    for attempt in range(5):
        await admin.ask("DELETE", PATH)
        crowd = [candidate(f"{attempt}-{number}") for number in range(4)]
        for now in (100.0, 102.0):
            await asyncio.gather(*(each.round(now) for each in crowd))
            assert [each.leading.is_set() for each in crowd].count(True) == 1
        (leader,) = [number for number, each in enumerate(crowd) if each.leading.is_set()]
        assert (await spec(admin))["holderIdentity"] == f"{attempt}-{leader}"


async def test_of_those_that_see_a_lease_expire_at_once_one_leads(candidate: Candidate) -> None:
    await candidate("gone").round(0.0)
    crowd = [candidate(f"heir-{number}") for number in range(4)]
    for now in (100.0, 100.1 + LEASE_SECONDS):
        await asyncio.gather(*(each.round(now) for each in crowd))
    assert [each.leading.is_set() for each in crowd].count(True) == 1


async def test_a_lease_that_was_given_up_is_taken_at_once(candidate: Candidate, admin: Admin) -> None:
    one, next_ = candidate("one"), candidate("next")
    await one.round(100.0)
    await next_.round(100.0)
    await one.resign()
    assert not one.leading.is_set()
    assert (await spec(admin)).get("holderIdentity", "") == ""
    await next_.round(100.1)
    assert next_.leading.is_set()


async def test_who_does_not_lead_gives_up_nobodys_lease(candidate: Candidate, admin: Admin) -> None:
    one, other = candidate("one"), candidate("other")
    await one.round(100.0)
    await other.round(100.0)
    await other.resign()
    assert (await spec(admin))["holderIdentity"] == "one"
    # A leader that has been followed without having noticed, too.
    await other.round(101.0 + LEASE_SECONDS)
    await one.resign()
    assert (await spec(admin))["holderIdentity"] == "other"


async def test_giving_up_is_no_failure_where_nobody_answers(candidate: Candidate, door: Gate) -> None:
    one = candidate("one")
    await one.round(100.0)
    await door.shut()
    await one.resign()
    assert not one.leading.is_set()


async def test_a_lease_that_somebody_deleted_is_made_again(candidate: Candidate, admin: Admin) -> None:
    one = candidate("one")
    await one.round(100.0)
    await admin.ask("DELETE", PATH)
    await one.round(102.0)
    assert one.leading.is_set()
    assert (await spec(admin))["holderIdentity"] == "one"


async def test_the_charts_labels_stay_on_its_lease(candidate: Candidate, admin: Admin) -> None:
    before = (await admin.ask("GET", PATH))["metadata"]["labels"]
    assert before
    await candidate("one").round(100.0)
    assert (await admin.ask("GET", PATH))["metadata"]["labels"] == before


async def test_the_time_since_when_it_leads_stays_through_renewals(candidate: Candidate, kube: Kube) -> None:
    one = candidate("one")
    await one.round(100.0)
    first = (await kube.get(LEASES, SYSTEM, NAME))["spec"]
    await one.round(102.0)
    second = (await kube.get(LEASES, SYSTEM, NAME))["spec"]
    assert (first["acquireTime"], first["leaseTransitions"]) == (second["acquireTime"], second["leaseTransitions"])
    assert first["renewTime"] < second["renewTime"]


async def test_who_may_not_read_the_lease_does_not_lead(kube: Kube) -> None:
    one = Election(kube, "kube-system", "not-ours", "one")
    await one.round(100.0)
    assert not one.leading.is_set()
