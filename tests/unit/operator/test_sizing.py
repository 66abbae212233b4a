"""A pool's size: by its spec, or by the autoscaler, which grows at once and shrinks only when it is sure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from snakepit.spec import SnakePool, SnakePoolStatus
from snakepit_operator.autoscale import WARM_UP_SECONDS, Demand, recommend
from snakepit_operator.model import FleetView, Observed, PodView
from snakepit_operator.schedule import least_replicas
from snakepit_operator.sizing import Size, look_again, resize
from support.operator_world import START, capsule, fleet, pod, pool

BUSY = Demand(arrivals_per_second=100, service_seconds=1, busy_slots=100)
QUIET = Demand(arrivals_per_second=1, service_seconds=0.1, busy_slots=0.1)
IDLE = Demand(idle_seconds=10_000)
LATER = START + 10_000
"""The pods of these tests have been ready since START."""


class Sizing:
    """The size of one pool, from one look to the next."""

    def __init__(self) -> None:
        self.size: Size | None = None

    def look(self, of: SnakePool, observed: Observed, now: float) -> Size:
        self.size = resize(of, observed, self.size, now)
        return self.size

    def is_short(self, view: FleetView) -> bool:
        return self.size is not None and self.size.is_short(view)


def scaled(desired: int | None = None, **policy: Any) -> SnakePool:
    of = pool(replicas=2, worker={"adapter": "a:A", "processes": 4}, autoscaling={"minReplicas": 1, "maxReplicas": 50, **policy})
    return of if desired is None else msgspec.structs.replace(of, status=SnakePoolStatus(desired_replicas=desired))


def seen(demand: Demand | None, *pods: PodView, **fields: Any) -> Observed:
    return Observed(pods, fleet(*(capsule(each) for each in pods), demand=demand, **fields))


def test_without_autoscaling_the_size_is_replicas_and_the_advice_is_given_all_the_same() -> None:
    found = Sizing().look(pool(replicas=7), seen(BUSY), START)
    assert found.capsules == 7
    assert found.advice is not None
    assert found.advice.capsules > 100


def test_a_new_pool_begins_with_a_capsule_also_where_it_may_have_none() -> None:
    assert Sizing().look(scaled(minReplicas=0), seen(None), START).capsules == 1
    assert Sizing().look(scaled(minReplicas=3), seen(None), START).capsules == 3


def test_more_demand_is_more_capsules_at_once() -> None:
    sizing = Sizing()
    assert sizing.look(scaled(1), seen(QUIET), START).capsules == 1
    assert sizing.is_short(fleet(demand=BUSY))
    assert sizing.look(scaled(1), seen(BUSY), START + 1).capsules > 25
    assert not sizing.is_short(fleet(demand=BUSY))


def test_less_demand_is_fewer_capsules_only_after_the_stabilization() -> None:
    sizing, of = Sizing(), scaled(1, scaleDownStabilizationSeconds=60)
    most = sizing.look(of, seen(BUSY), START).capsules
    assert sizing.look(of, seen(QUIET), START + 59).capsules == most
    assert sizing.look(of, seen(QUIET), START + 60).capsules == 1


def test_a_lesser_peak_within_the_stabilization_is_what_is_gone_down_to() -> None:
    sizing, of = Sizing(), scaled(1, scaleDownStabilizationSeconds=60)
    lesser = Demand(arrivals_per_second=40, service_seconds=1, busy_slots=40)
    most = sizing.look(of, seen(BUSY), START).capsules
    sizing.look(of, seen(lesser), START + 30)
    found = sizing.look(of, seen(QUIET), START + 61).capsules
    assert 10 < found < most
    assert sizing.look(of, seen(QUIET), START + 91).capsules == 1


def test_a_new_leader_goes_on_with_the_size_that_the_status_says() -> None:
    sizing, of = Sizing(), scaled(9, scaleDownStabilizationSeconds=60)
    assert sizing.look(of, seen(QUIET), START).capsules == 9
    assert sizing.look(of, seen(QUIET), START + 60).capsules == 1


@pytest.mark.parametrize("unsure", [Observed(()), seen(None), seen(QUIET, unheard=1)], ids=["nobody", "nothing known", "one unheard"])
def test_nothing_is_scaled_down_while_not_every_replica_is_heard(unsure: Observed) -> None:
    sizing, of = Sizing(), scaled(9, scaleDownStabilizationSeconds=60)
    sizing.look(of, seen(QUIET), START)
    assert sizing.look(of, unsure, START + 600).capsules == 9


def test_one_unheard_replica_keeps_nobody_from_scaling_up() -> None:
    assert Sizing().look(scaled(1), seen(BUSY, unheard=1), START).capsules > 25


def test_without_calls_for_long_enough_the_pool_goes_to_zero_and_stays_there() -> None:
    sizing, of = Sizing(), scaled(1, minReplicas=0, idleSeconds=600)
    assert sizing.look(of, seen(Demand(idle_seconds=599), pod(0)), LATER).capsules == 1
    assert sizing.look(of, seen(Demand(idle_seconds=600), pod(0)), LATER + 1).capsules == 0
    assert sizing.look(of, seen(Demand(idle_seconds=1)), LATER + 2).capsules == 0, "a control plane that has started again knows no better"


def test_a_call_that_waits_at_zero_brings_a_capsule() -> None:
    sizing, of = Sizing(), scaled(0, minReplicas=0)
    assert sizing.look(of, seen(IDLE), START).capsules == 0
    waiting = Demand(waiting=1)
    assert sizing.is_short(fleet(demand=waiting, queue_depth=1))
    assert sizing.look(of, seen(waiting, queue_depth=1), START + 1).capsules == 1


@pytest.mark.parametrize(
    "not_yet",
    [{"queue_depth": 1}, {"busy_slots": 1}, {"unheard": 1}, {"behind": 1}],
    ids=["one waits", "one runs", "a replica is not heard", "a replica has other settings"],
)
def test_nothing_goes_to_zero_before_every_replica_says_that_nothing_is_there(not_yet: dict[str, int]) -> None:
    of = scaled(1, minReplicas=0)
    assert Sizing().look(of, seen(IDLE, pod(0), **not_yet), LATER).capsules == 1
    assert Sizing().look(of, seen(IDLE, pod(0)), LATER).capsules == 0


def test_a_capsule_is_not_taken_away_before_it_has_been_ready_for_as_long() -> None:
    of = scaled(1, minReplicas=0, idleSeconds=60)
    assert Sizing().look(of, seen(IDLE, pod(0, ready=False)), START + 1000).capsules == 1
    assert Sizing().look(of, seen(IDLE, pod(0, changed=START)), START + 59).capsules == 1
    assert Sizing().look(of, seen(IDLE, pod(0, changed=START)), START + 60).capsules == 0


@pytest.mark.parametrize("held", [{"sessions": 1}, {"running": 1}], ids=["a session", "a call"])
def test_a_session_that_has_its_worker_there_keeps_the_last_capsule(held: dict[str, int]) -> None:
    one = pod(0)
    view: FleetView = fleet(capsule(one, **held), demand=IDLE)
    assert Sizing().look(scaled(1, minReplicas=0), Observed((one,), view), LATER).capsules == 1


def test_the_most_is_never_exceeded_and_the_advice_says_so() -> None:
    found = Sizing().look(scaled(1, maxReplicas=3), seen(BUSY), START)
    assert found.capsules == 3
    assert found.advice is not None
    assert found.advice.is_limited
    assert "maxReplicas says 3" in found.advice.reasoning


def test_narrower_bounds_hold_at_once() -> None:
    sizing = Sizing()
    assert sizing.look(scaled(1), seen(BUSY), START).capsules > 25
    assert sizing.look(scaled(1, maxReplicas=5), seen(None), START + 1).capsules == 5
    assert sizing.look(scaled(1, minReplicas=6), seen(None), START + 2).capsules == 6


def test_a_pool_whose_autoscaler_is_switched_on_gets_smaller_in_no_more_of_a_hurry() -> None:
    sizing, of = Sizing(), scaled(1, scaleDownStabilizationSeconds=60)
    assert sizing.look(pool(replicas=9), seen(QUIET), START).capsules == 9
    assert sizing.look(of, seen(QUIET), START + 59).capsules == 9
    assert sizing.look(of, seen(QUIET), START + 60).capsules == 1


def test_an_autoscaled_pool_that_was_suspended_begins_with_what_its_calls_need_and_not_with_replicas() -> None:
    sizing, of = Sizing(), scaled(1)
    suspended = msgspec.structs.replace(of, spec=msgspec.structs.replace(of.spec, suspended=True))
    assert sizing.look(suspended, seen(QUIET), START).capsules == 0
    assert sizing.look(of, seen(QUIET), START + 1).capsules == 1


def test_a_suspended_pool_is_not_short_and_autoscaling_that_is_taken_out_leaves_replicas() -> None:
    sizing, of = Sizing(), scaled(1)
    suspended = msgspec.structs.replace(of, spec=msgspec.structs.replace(of.spec, suspended=True))
    sizing.look(suspended, seen(QUIET), START)
    assert not sizing.is_short(fleet(demand=BUSY))
    assert sizing.look(pool(replicas=4), seen(BUSY), START + 1).capsules == 4


def test_the_warm_up_is_that_of_the_slowest_capsules_seen() -> None:
    slow = [pod(number, created=START, changed=START + 40) for number in range(3)]
    of = scaled(3)
    assert of.spec.autoscaling is not None
    crowd = Demand(arrivals_per_second=20, service_seconds=1, busy_slots=20, waiting=100)
    found = Sizing().look(of, seen(crowd, *slow, pod(3, ready=False)), START + 100)
    assert found.advice == recommend(crowd, of.spec.autoscaling, 4, 40)
    assert found.advice != recommend(crowd, of.spec.autoscaling, 4, WARM_UP_SECONDS)


def test_the_next_look_is_when_the_pool_may_become_smaller() -> None:
    sizing, of = Sizing(), scaled(1, scaleDownStabilizationSeconds=60)
    sizing.look(of, seen(BUSY), START)
    assert look_again(sizing.look(of, seen(BUSY), START + 1), fleet(demand=BUSY), START + 1) is None
    assert look_again(sizing.look(of, seen(QUIET), START + 21), fleet(demand=QUIET), START + 21) == 40


def test_the_next_look_at_an_idle_pool_is_when_it_may_go_to_zero_and_not_sooner_than_in_five_seconds() -> None:
    of = scaled(1, minReplicas=0, idleSeconds=600)
    for idle, pause in ((590.0, 10), (599.0, 5), (700.0, 5)):
        demand = Demand(idle_seconds=idle)
        assert look_again(Sizing().look(of, seen(demand, sessions=1, queue_depth=1), START), fleet(demand=demand), START) == pause
    assert look_again(Sizing().look(scaled(0, minReplicas=0), seen(IDLE), START), fleet(demand=IDLE), START) is None
    assert look_again(Sizing().look(pool(), seen(IDLE), START), fleet(demand=IDLE), START) is None


WEEKDAYS = [
    {"cron": "0 8 * * 1-5", "minReplicas": 6, "timeZone": "Europe/Zurich"},
    {"cron": "0 18 * * 1-5", "minReplicas": 2, "timeZone": "Europe/Zurich"},
]


@pytest.mark.parametrize(
    ("time", "least"),
    [
        ("2026-11-27T07:59:59+01:00", 2),
        ("2026-11-27T08:00:00+01:00", 6),
        ("2026-11-27T17:59:59+01:00", 6),
        ("2026-11-27T18:00:00+01:00", 2),
        ("2026-11-29T12:00:00+01:00", 2),
        ("2026-07-01T08:00:00+02:00", 6),
    ],
)
def test_the_schedule_says_the_fewest_capsules_in_its_own_time_zone(time: str, least: int) -> None:
    policy = scaled(schedule=WEEKDAYS).spec.autoscaling
    assert policy is not None
    assert least_replicas(policy, datetime.fromisoformat(time).timestamp()) == least


def test_a_pool_has_as_many_capsules_as_the_schedule_says_and_not_more_than_the_most() -> None:
    noon = datetime.fromisoformat("2026-11-27T12:00:00+01:00").timestamp()
    assert Sizing().look(scaled(1, schedule=WEEKDAYS), seen(QUIET), noon).capsules == 6
    assert Sizing().look(scaled(1, schedule=WEEKDAYS, maxReplicas=4), seen(QUIET), noon).capsules == 4
    assert Sizing().look(scaled(0, minReplicas=0, schedule=WEEKDAYS), seen(IDLE), noon).capsules == 6


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"cron": "60 * * * *", "minReplicas": 6}, "autoscaling.schedule[0].cron '60 * * * *': Bad minute"),
        (
            {"cron": "0 8 * * *", "minReplicas": 6, "timeZone": "Mars/Olympus"},
            "autoscaling.schedule[0].timeZone 'Mars/Olympus' is not known",
        ),
        (
            {"cron": "0 8 * * *", "minReplicas": 6, "timeZone": "../../etc/passwd"},
            "autoscaling.schedule[0].timeZone '../../etc/passwd' is not",
        ),
    ],
)
def test_an_entry_that_can_not_be_read_counts_for_nothing_and_is_named(entry: dict[str, Any], said: str) -> None:
    found = Sizing().look(scaled(1, schedule=[entry]), seen(QUIET), START)
    assert found.capsules == 1
    assert found.advice is not None
    assert said in found.advice.reasoning
