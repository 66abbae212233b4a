"""`plan` is total, pure and idempotent, whatever the pool and its pods are. A seed that fails is named."""

from __future__ import annotations

import random

import msgspec
import pytest

from snakepit.spec import SnakePool
from snakepit_operator.model import CapsuleView, FleetView, Observed, Phase, Plan, PodView
from snakepit_operator.plan import plan
from snakepit_operator.rollout import pool_hash
from support.operator_world import START, capsule, fleet, pod, pool
from support.seeds import fresh

SEEDS = [*range(1500), *fresh()]
NOW = START + 3000


class Case:
    """A pool, what is observed of it, and when."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pool = self._pool()
        pods = [self._pod(number) for number in range(self.chance.choice([0, 1, 3, 6, 14]))]
        self.observed = Observed(tuple(pods), None if self.chance.random() < 0.2 else self._fleet(pods))

    def _pool(self) -> SnakePool:
        chance = self.chance
        counts = [0, 1, 2, 5, "0%", "10%", "25%", "100%"]
        rollout = {
            "maxSurge": chance.choice(counts),
            "maxUnavailable": chance.choice(counts),
            "progressDeadlineSeconds": chance.choice([1, 600]),
            "paused": chance.random() < 0.2,
        }
        return pool(replicas=chance.choice([0, 1, 2, 3, 8, 40]), rollout=rollout, suspended=chance.random() < 0.1)

    def _pod(self, number: int) -> PodView:
        chance = self.chance
        phase = chance.choice([Phase.RUNNING, Phase.RUNNING, *Phase])
        created = NOW - chance.choice([0.0, 5.0, 700.0, -30.0]) * chance.random()
        return pod(
            chance.randint(0, 6),
            name=f"pod-{number}",
            template_hash=chance.choice([pool_hash(self.pool), pool_hash(self.pool), "old", ""]),
            phase=phase,
            ready=phase is Phase.RUNNING and chance.random() < 0.6,
            reason=chance.choice(["", "", "CrashLoopBackOff"]),
            deleting=chance.random() < 0.2,
            created=created,
            changed=created + chance.choice([0.0, 100.0, 1000.0]) * chance.random(),
            attempt=chance.choice([0, 0, 1, 3, 90]),
            creating=chance.random() < 0.1,
        )

    def _fleet(self, pods: list[PodView]) -> FleetView:
        known = [each for each in pods if self.chance.random() < 0.8]
        return fleet(*(self._capsule(each) for each in known))

    def _capsule(self, of: PodView) -> CapsuleView:
        chance = self.chance
        lost = chance.random() < 0.15
        uid = of.uid if chance.random() < 0.9 else "its predecessor's"
        return capsule(of, pod_uid=uid, lost=lost, live=not lost and chance.random() < 0.8, ready_workers=chance.randint(0, 1), running=1)

    def done(self, made: Plan) -> Observed:
        """As the cluster is a moment later, when all of the plan was carried out."""
        gone = {each.uid for each in made.deletions}
        left = [msgspec.structs.replace(each, deleting=True) if each.uid in gone else each for each in self.observed.pods]
        new = [
            pod(
                each.ordinal,
                name=each.name,
                template_hash=each.template_hash,
                attempt=each.attempt,
                phase=Phase.PENDING,
                ready=False,
                created=NOW,
                changed=NOW,
            )
            for each in made.creations
        ]
        return msgspec.structs.replace(self.observed, pods=(*left, *new))


@pytest.mark.parametrize("first", range(0, len(SEEDS), 100))
def test_whatever_is_observed_there_is_one_plan_that_can_be_carried_out_and_then_nothing_is_left_to_do(first: int) -> None:
    for seed in SEEDS[first : first + 100]:
        case = Case(seed)
        made = plan(case.pool, case.observed, NOW)
        there = {each.name: each for each in case.observed.pods}
        deleted = [each.name for each in made.deletions]
        assert len(set(deleted)) == len(deleted), f"seed {seed}: one is deleted twice"
        assert all(there[each.name].uid == each.uid and not there[each.name].deleting for each in made.deletions), f"seed {seed}"
        new = [each.name for each in made.creations]
        assert len(set(new)) == len(new), f"seed {seed}: one name twice"
        assert not set(new) & there.keys(), f"seed {seed}: what is there is created"
        assert {*deleted, *(name for name, each in there.items() if each.deleting)} == set(made.drains), f"seed {seed}"
        assert made.requeue_after is None or made.requeue_after > 0, f"seed {seed}"

        mixed = list(case.observed.pods)
        case.chance.shuffle(mixed)
        again = plan(case.pool, msgspec.structs.replace(case.observed, pods=tuple(mixed)), NOW)
        assert {*again.deletions, *again.creations} == {*made.deletions, *made.creations}, f"seed {seed}: the order of pods decides"

        then = plan(case.pool, case.done(made), NOW)
        assert (then.deletions, then.creations) == ((), ()), f"seed {seed}: it was done, and there is more to do"
