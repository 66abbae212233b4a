"""Two that lead at a time, as may be for a moment, don't undo at once what the other does. What one does by itself, it does at once."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from snakepit.spec import SnakePool
from snakepit_operator.autoscale import Demand
from snakepit_operator.decide import STRANGER_SECONDS, Memory, Step, conclude, decide
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import POOLS, Kube
from snakepit_operator.leases import LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS
from snakepit_operator.model import Observed, Outcome, Phase, PodView
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import DISPUTED_SECONDS, REST_SECONDS, Reconciler
from snakepit_operator.settings import Settings
from support.operator_world import START, capsule, fleet, pod, pool
from support.pretend_api import PretendApi

NAME = "default/digits"
SPEC = {"image": "example/digits:1", "worker": {"adapter": "digits.tools:Digits"}, "replicas": 1}


def seen(*pods: PodView) -> Observed:
    return Observed(pods, fleet(*(capsule(each) for each in pods if each.ready)))


def look(of: SnakePool, observed: Observed, memory: Memory | None = None, now: float = START + 100) -> Step:
    return decide(of, observed, memory or Memory(uid="pool-uid"), now)


def deleted(step: Step) -> list[str]:
    return [each.name for each in step.plan.deletions]


ONE, OTHER = pod(0), pod(1)


def test_what_another_one_has_made_since_the_last_look_is_too_many_only_after_a_while() -> None:
    first = look(pool(replicas=1), seen(ONE))
    second = look(pool(replicas=1), seen(ONE, OTHER), first.memory)
    assert deleted(second) == []
    assert "digits-1" not in " ".join(second.plan.drains)
    assert second.plan.requeue_after == STRANGER_SECONDS
    third = look(pool(replicas=1), seen(ONE, OTHER), second.memory, START + 100 + STRANGER_SECONDS)
    assert deleted(third) == [OTHER.name]


def test_nothing_takes_the_place_of_what_is_spared() -> None:
    old = pod(1, template_hash="old", ready=False, phase=Phase.PENDING)
    first = look(pool(replicas=2), seen(ONE))
    second = look(pool(replicas=2), seen(ONE, old), first.memory)
    assert (second.plan.deletions, second.plan.creations) == ((), ())


def test_a_new_leader_finds_nothing_strange_at_its_first_look() -> None:
    assert deleted(look(pool(replicas=1), seen(ONE, OTHER))) == [OTHER.name]


def test_what_it_has_made_itself_is_deleted_at_once() -> None:
    first = look(pool(replicas=2), seen(ONE))
    (made,) = first.plan.creations
    second = look(pool(replicas=1), seen(ONE, pod(1, name=made.name)), first.memory)
    assert deleted(second) == [made.name]
    # But not one that another has made of that name afterwards.
    third = look(pool(replicas=1), seen(ONE, pod(1, name=made.name, uid="another")), second.memory)
    assert deleted(third) == []


def test_what_has_failed_goes_whoever_has_made_it() -> None:
    first = look(pool(replicas=1), seen(ONE))
    failed = pod(1, phase=Phase.FAILED, ready=False)
    assert deleted(look(pool(replicas=1), seen(ONE, failed), first.memory)) == [failed.name]


def test_a_status_that_somebody_else_has_written_is_disputed_until_it_is_ones_own_again() -> None:
    of, observed = pool(replicas=1), seen(ONE)
    step = look(of, observed)
    end = conclude(of, observed, step, Outcome(), "release", START + 100)
    mine = msgspec.structs.replace(of, status=end.status)
    theirs = msgspec.structs.replace(of, status=msgspec.structs.replace(end.status, replicas=7))
    assert [look(each, observed, end.memory).memory.disputed for each in (mine, theirs, mine)] == [False, True, False]


@pytest.mark.parametrize(("unheard", "capsules"), [(0, 2), (1, 6)])
def test_a_pool_stays_as_large_as_another_one_has_made_it_while_a_replica_is_unheard_that_may_have_told_him_why(
    unheard: int, capsules: int
) -> None:
    """It went from 6 capsules to 2 at once. (Simulation, seed 1380.)"""
    of = pool(replicas=1, autoscaling={"minReplicas": 2, "maxReplicas": 8})
    observed = Observed((ONE, OTHER), fleet(capsule(ONE), capsule(OTHER), demand=Demand(), unheard=unheard))
    step = look(of, observed)
    end = conclude(of, observed, step, Outcome(), "release", START + 100)
    assert end.status.desired_replicas == 2
    theirs = msgspec.structs.replace(of, status=msgspec.structs.replace(end.status, desired_replicas=6))
    size = look(theirs, observed, end.memory).memory.size
    assert size is not None
    assert size.capsules == capsules


def test_a_leader_stops_before_anybody_else_may_begin() -> None:
    """A round that fails before its renewal is due is followed by a pause, in which it leads on."""
    assert RENEW_SECONDS + RETRY_SECONDS < LEASE_SECONDS


async def test_a_pool_is_looked_at_less_often_while_somebody_else_writes_its_status_too() -> None:
    raw = {"metadata": {"name": "digits", "namespace": "default", "uid": "pool-uid", "generation": 1}, "spec": SPEC}
    api = PretendApi(raw)
    settings = Settings(namespace="system", identity="me", agent=AgentImage(image="agent:1"))
    operator = Reconciler(cast(Kube, api), settings, Fleet("127.0.0.1:1", lambda pool, essential: None))
    rests = [operator.rest(NAME)]
    for theirs in ({}, {"replicas": 7}, {}):
        await api.merge_status(POOLS, "default", "digits", {"status": theirs})
        await operator.reconcile(NAME, START)
        rests.append(operator.rest(NAME))
    assert rests == [REST_SECONDS, REST_SECONDS, DISPUTED_SECONDS, REST_SECONDS]
    assert STRANGER_SECONDS > DISPUTED_SECONDS > REST_SECONDS > 0
