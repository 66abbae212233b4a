"""Which pods are created and deleted, case by case; test_converging.py says that it always ends well."""

from __future__ import annotations

import msgspec
import pytest

from snakepit_operator.model import Observed, Phase, Plan, Reason
from snakepit_operator.plan import PENDING_WHILE_STUCK, RETRY_SECONDS, plan
from support.operator_world import START, World, capsule, fleet, pod, pool

NOW = START + 60


def names(made: Plan) -> list[str]:
    return [each.name for each in made.deletions]


def test_a_new_pool_gets_its_capsules_with_ordinals_from_zero() -> None:
    made = plan(pool(replicas=3), Observed((), fleet()), NOW)
    assert [each.ordinal for each in made.creations] == [0, 1, 2]
    assert not made.deletions


def test_whoever_sees_the_same_gives_the_same_names() -> None:
    first, second = (plan(pool(replicas=3), Observed((), fleet()), now) for now in (NOW, NOW + 5))
    assert [each.name for each in first.creations] == [each.name for each in second.creations]


def test_a_pod_deleted_by_hand_is_replaced_under_another_name_while_it_terminates() -> None:
    going = pod(0, deleting=True, evicted=True)
    made = plan(pool(replicas=2), Observed((going, pod(1)), fleet()), NOW)
    assert [each.ordinal for each in made.creations] == [0]
    assert made.creations[0].name != going.name
    assert made.drains == made.evicted == (going.name,)


def test_a_name_is_never_used_for_two_pods_that_exist_at_once() -> None:
    world, of = World([]), pool(replicas=2)
    world.reconcile(of)
    world.settle()
    for _ in range(3):
        victim = world.active()[0]
        world.change(victim.name, deleting=True)
        world.reconcile(of)
        assert len(world.active()) == 2, "the replacement took the name of the pod that still terminates"


def test_what_replaces_a_lost_capsule_stays_away_from_its_node_until_the_lost_pod_is_gone() -> None:
    lost, other = pod(0, node="dead"), pod(1, node="alive")
    told = fleet(capsule(lost, live=False, lost=True), capsule(other))
    made = plan(pool(replicas=2), Observed((lost, other), told), NOW)
    assert (names(made), [each.avoid for each in made.creations]) == ([lost.name], [("dead",)])
    going = msgspec.structs.replace(lost, deleting=True)
    assert [each.avoid for each in plan(pool(replicas=3), Observed((going, other), told), NOW).creations] == [("dead",)] * 2
    assert [each.avoid for each in plan(pool(replicas=2), Observed((other,), told), NOW).creations] == [()]


def test_where_there_is_no_other_node_the_one_with_the_lost_capsule_does() -> None:
    going = pod(0, node="only", deleting=True)
    kept_out = pod(0, name="kept-out", avoids=True, phase=Phase.PENDING, reason="Unschedulable")
    told = fleet(capsule(going, live=False, lost=True))
    made = plan(pool(replicas=1), Observed((going, kept_out), told), NOW)
    assert names(made) == ["kept-out"]
    assert [(each.avoid, each.attempt) for each in made.creations] == [((), 0)]
    waiting = msgspec.structs.replace(kept_out, avoids=False)
    assert plan(pool(replicas=1), Observed((going, waiting), told), NOW).deletions == ()
    late = plan(pool(replicas=1), Observed((going, waiting), told), NOW + 10_000)
    assert [(each.avoid, each.attempt) for each in late.creations] == [((), 1)], "it isn't left out again"


def test_another_pool_of_the_same_name_gives_other_names() -> None:
    again = msgspec.structs.replace(pool(), metadata=msgspec.structs.replace(pool().metadata, uid="another"))
    before, after = (plan(each, Observed((), fleet()), NOW) for each in (pool(), again))
    assert {each.name for each in before.creations}.isdisjoint(each.name for each in after.creations)


def test_a_satisfied_pool_is_left_alone() -> None:
    assert plan(pool(replicas=2), Observed((pod(0), pod(1)), fleet()), NOW) == Plan()


def test_scaling_down_takes_not_ready_then_idle_then_the_fewest_sessions() -> None:
    pods = [pod(0), pod(1), pod(2), pod(3, ready=False, phase=Phase.RUNNING)]
    seen = fleet(capsule(pods[0], running=1, sessions=0), capsule(pods[1], sessions=2), capsule(pods[2], sessions=5))
    order = []
    for wanted in (3, 2, 1):
        (gone,) = plan(pool(replicas=wanted), Observed(tuple(pods), seen), NOW).deletions
        order.append(gone.name)
        pods = [each for each in pods if each.name != gone.name]
    assert [name.split("-")[1] for name in order] == ["3", "1", "2"]


def test_deleted_capsules_are_drained() -> None:
    made = plan(pool(replicas=1), Observed((pod(0), pod(1)), fleet()), NOW)
    assert made.drains == tuple(names(made)) != ()
    assert made.evicted == ()


@pytest.mark.parametrize("spec", [{"replicas": 0}, {"suspended": True}], ids=["replicas: 0", "suspended"])
def test_no_capsule_is_wanted(spec: dict[str, object]) -> None:
    made = plan(pool(**spec), Observed((pod(0), pod(1)), fleet()), NOW)
    assert len(made.deletions) == 2
    assert not made.creations


def test_a_restart_that_is_asked_for_rolls_the_pods_within_the_budget_and_once() -> None:
    of = pool(replicas=4)
    asked = msgspec.structs.replace(of, metadata=msgspec.structs.replace(of.metadata, annotations={"snakepit.dev/restartedAt": "now"}))
    world = World([pod(number) for number in range(4)])
    assert not world.reconcile(of).creations
    before = set(world.pods)
    for _ in range(40):
        world.reconcile(asked)
        assert len(world.active()) <= 5, "a quarter more than wanted at most"
        assert len(world.ready()) >= 4, "maxUnavailable is 0"
        world.settle()
    assert len(world.active()) == 4
    assert not set(world.pods) & before
    assert not world.reconcile(asked).creations, "asked for once, done once"


class TestWithoutTheControlPlane:
    def test_nothing_is_scaled_down(self) -> None:
        made = plan(pool(replicas=1), Observed((pod(0), pod(1)), None), NOW)
        assert not made.deletions
        assert made.held is Reason.CONTROL_PLANE_UNKNOWN

    def test_nothing_is_rolled(self) -> None:
        old = pod(0, template_hash="old"), pod(1, template_hash="old")
        made = plan(pool(replicas=2), Observed((*old, pod(0)), None), NOW)
        assert not made.deletions

    def test_pods_that_never_ran_may_go(self) -> None:
        made = plan(pool(replicas=1), Observed((pod(0), pod(1, phase=Phase.PENDING, ready=False)), None), NOW)
        assert names(made) == [pod(1).name]

    def test_a_stuck_one_of_which_a_part_runs_is_not_given_up_and_nothing_is_looked_at_again_for_it(self) -> None:
        stuck = pod(0, ready=False, reason="CrashLoopBackOff")
        late = START + 10_000
        unheard = plan(pool(replicas=1), Observed((stuck,), None), late)
        assert names(unheard) == []
        assert unheard.held is Reason.CONTROL_PLANE_UNKNOWN
        assert unheard.requeue_after is None
        assert names(plan(pool(replicas=1), Observed((stuck,), fleet()), late)) == [stuck.name]

    def test_capsules_are_still_created(self) -> None:
        assert len(plan(pool(replicas=2), Observed((pod(0),), None), NOW).creations) == 1


class TestRollingUpdate:
    old = tuple(pod(number, template_hash="old") for number in range(4))

    def test_the_surge_comes_first(self) -> None:
        made = plan(pool(replicas=4), Observed(self.old, fleet()), NOW)
        assert len(made.creations) == 1
        assert not made.deletions

    def test_an_old_one_goes_when_a_new_one_is_ready(self) -> None:
        made = plan(pool(replicas=4), Observed((*self.old, pod(0)), fleet()), NOW)
        assert len(made.deletions) == 1
        assert made.deletions[0].reason == Reason.ROLLING_OUT

    def test_an_old_one_stays_while_the_new_one_is_not_ready(self) -> None:
        made = plan(pool(replicas=4), Observed((*self.old, pod(0, ready=False)), fleet()), NOW)
        assert made == Plan()

    def test_a_third_template_replaces_the_stuck_second_at_once(self) -> None:
        stuck = pod(0, template_hash="second", phase=Phase.PENDING, reason="ImagePullBackOff", message="no such image")
        made = plan(pool(replicas=4), Observed((*self.old, stuck), fleet()), NOW)
        assert names(made) == [stuck.name]
        assert len(made.creations) == 1

    def test_max_unavailable_instead_of_surge(self) -> None:
        spec = pool(replicas=4, rollout={"maxSurge": 0, "maxUnavailable": 2})
        made = plan(spec, Observed(self.old, fleet()), NOW)
        assert len(made.deletions) == 2
        assert len(made.creations) == 2

    def test_percentages_that_round_to_nothing_still_move(self) -> None:
        spec = pool(replicas=4, rollout={"maxSurge": "0%", "maxUnavailable": "1%"})
        assert len(plan(spec, Observed(self.old, fleet()), NOW).deletions) == 1

    def test_scaling_down_in_the_middle_ends_within_the_surge(self) -> None:
        young = tuple(pod(number, ready=False) for number in range(3))
        made = plan(pool(replicas=2), Observed((*self.old, *young), fleet()), NOW)
        left = {each.name for each in (*self.old, *young)} - set(names(made))
        assert len(left) == 3
        assert len(left & {each.name for each in self.old}) == 2

    def test_paused(self) -> None:
        made = plan(pool(replicas=4, rollout={"paused": True}), Observed(self.old, fleet()), NOW)
        assert made == Plan()

    def test_a_missing_pod_of_a_paused_rollout_is_replaced(self) -> None:
        made = plan(pool(replicas=4, rollout={"paused": True}), Observed(self.old[1:], fleet()), NOW)
        assert len(made.creations) == 1
        assert not made.deletions

    def test_a_pod_whose_workers_serve_counts_although_the_kubelet_is_behind(self) -> None:
        late = pod(0, template_hash="old", ready=False)
        made = plan(pool(replicas=1), Observed((late, pod(0, ready=False)), fleet(capsule(late))), NOW)
        assert not made.deletions


class TestFailingPods:
    def test_the_first_failure_is_replaced_at_once(self) -> None:
        failed = pod(0, phase=Phase.FAILED, ready=False, reason="Evicted", message="the node was low on memory", changed=NOW)
        made = plan(pool(replicas=1), Observed((failed,), fleet()), NOW)
        assert names(made) == [failed.name]
        (creation,) = made.creations
        assert creation.attempt == 1
        assert creation.name != failed.name

    def test_later_ones_wait_ever_longer(self) -> None:
        waits = []
        for attempt in (1, 2, 3, 30):
            failed = pod(0, phase=Phase.FAILED, ready=False, reason="OutOfcpu", attempt=attempt, changed=NOW, created=NOW - 1)
            made = plan(pool(replicas=1), Observed((failed,), fleet()), NOW)
            assert not made.creations
            assert not made.deletions
            waits.append(made.requeue_after)
        first, longest = RETRY_SECONDS
        assert waits == [first, first * 2, first * 4, longest]

    def test_a_failure_that_waits_is_not_replaced_by_a_second_pod(self) -> None:
        failed = pod(0, phase=Phase.FAILED, ready=False, reason="OutOfcpu", attempt=3, changed=NOW)
        made = plan(pool(replicas=2), Observed((failed, pod(1)), fleet()), NOW)
        assert not made.creations

    def test_a_long_life_starts_the_count_anew(self) -> None:
        failed = pod(0, phase=Phase.FAILED, ready=False, reason="Evicted", attempt=5, created=NOW - 5000, changed=NOW)
        (creation,) = plan(pool(replicas=1), Observed((failed,), fleet()), NOW).creations
        assert creation.attempt == 1

    def test_a_stuck_pod_is_given_up_after_the_progress_deadline(self) -> None:
        stuck = pod(0, phase=Phase.PENDING, reason="Unschedulable", created=NOW, changed=NOW)
        spec = pool(replicas=1, rollout={"progressDeadlineSeconds": 100})
        assert plan(spec, Observed((stuck,), fleet()), NOW + 99).requeue_after == pytest.approx(1)
        made = plan(spec, Observed((stuck,), fleet()), NOW + 100)
        assert names(made) == [stuck.name]
        assert made.creations[0].attempt == 1

    def test_stuck_pods_are_never_multiplied(self) -> None:
        stuck = [pod(number, phase=Phase.PENDING, reason="ErrImagePull") for number in range(PENDING_WHILE_STUCK)]
        assert not plan(pool(replicas=100), Observed(tuple(stuck), fleet()), NOW).creations

    def test_a_lost_capsule_is_replaced(self) -> None:
        lost = pod(0)
        made = plan(pool(replicas=1), Observed((lost,), fleet(capsule(lost, live=False, lost=True))), NOW)
        assert [(each.name, each.reason) for each in made.deletions] == [(lost.name, Reason.CAPSULE_LOST)]
        assert made.creations[0].attempt == 0

    def test_a_lost_namesake_of_an_earlier_pod_does_not_count(self) -> None:
        fresh = pod(0)
        ghost = capsule(fresh, pod_uid="the one before", live=False, lost=True)
        assert plan(pool(replicas=1), Observed((fresh,), fleet(ghost)), NOW) == Plan()


def test_a_burst_of_a_hundred_is_created_once() -> None:
    world = World([])
    wanted = pool(replicas=100)
    for _ in range(5):
        world.reconcile(wanted)
    assert len(world.active()) == 100


def test_of_capsules_that_are_missed_equally_the_highest_ordinals_go() -> None:
    pods = [pod(number) for number in (2, 0, 3, 1)]
    made = plan(pool(replicas=2), Observed(tuple(pods), fleet(*(capsule(each) for each in pods))), NOW)
    assert sorted(names(made)) == sorted(each.name for each in pods if each.ordinal >= 2)


def test_a_failed_pod_that_waits_for_its_retry_goes_when_nobody_wants_its_place_any_more() -> None:
    serving, failed = pod(0), pod(1, phase=Phase.FAILED, reason="Error", attempt=4, changed=NOW)
    seen = Observed((serving, failed), fleet(capsule(serving)))
    assert names(plan(pool(replicas=2), seen, NOW)) == []
    assert names(plan(pool(replicas=1), seen, NOW)) == [failed.name]


def test_of_failed_pods_that_wait_the_first_places_stay() -> None:
    failed = [pod(number, phase=Phase.FAILED, reason="Error", attempt=4, changed=NOW) for number in (2, 0, 1)]
    assert names(plan(pool(replicas=1), Observed(tuple(failed), fleet()), NOW)) == [failed[0].name, failed[2].name]


def test_what_is_drained_and_can_not_be_deleted_now_stays_drained_and_nothing_takes_its_place() -> None:
    leaving = pod(1, leaving="ScalingDown")
    found = plan(pool(replicas=2), Observed((pod(0), leaving)), START + 100)
    assert (found.deletions, found.creations, found.drains) == ((), (), (leaving.name,))
