"""Whatever the cluster does, there are never more pods than desired + surge, enough of them serve, and in the end all is as wanted."""

from __future__ import annotations

import math
import zlib

import pytest
from hypothesis import given, settings, strategies
from msgspec.structs import replace

from snakepit.spec import SnakePool
from snakepit_operator.model import Observed, Phase, PodView
from snakepit_operator.rollout import budget, share, template_hash
from support.operator_world import START, World, pod, pool

TEMPLATES = ("old", "older", "")


@strategies.composite
def pods(draw: strategies.DrawFn) -> list[PodView]:
    """Any pods: of any template, in any phase, several of one ordinal."""
    found = {}
    for _ in range(draw(strategies.integers(0, 12))):
        template = draw(strategies.sampled_from(TEMPLATES)) or template_hash(pool().spec)
        phase = draw(strategies.sampled_from(list(Phase)))
        stuck = phase is Phase.FAILED or draw(strategies.booleans())
        each = pod(
            draw(strategies.integers(0, 8)),
            template_hash=template,
            phase=phase,
            ready=phase is Phase.RUNNING and not stuck,
            reason="Trouble" if stuck else "",
            deleting=draw(strategies.booleans()),
            attempt=draw(strategies.integers(0, 4)),
        )
        found[each.name] = each
    return list(found.values())


counts = strategies.one_of(strategies.integers(0, 3), strategies.sampled_from(["0%", "10%", "50%", "100%"]))
specs = strategies.builds(
    lambda replicas, surge, missing: pool(replicas=replicas, rollout={"maxSurge": surge, "maxUnavailable": missing}),
    strategies.integers(0, 8),
    counts,
    counts,
)


def ceiling(of: SnakePool) -> int:
    return of.spec.replicas + share(of.spec.rollout.max_surge, of.spec.replicas, math.ceil)


def disturb(world: World, draw: strategies.DrawFn) -> None:
    """Something that real clusters do."""
    world.now += draw(strategies.sampled_from([0.0, 1.0, 30.0, 1000.0]))
    world.known = draw(strategies.sampled_from([True, True, True, False]))
    for name in list(world.pods):
        match draw(strategies.sampled_from(["nothing", "ready", "unready", "stuck", "failed", "deleted", "gone", "lost"])):
            case "ready":
                world.change(name, ready=True, phase=Phase.RUNNING, reason="", changed=world.now)
            case "unready":
                world.change(name, ready=False, changed=world.now)
            case "stuck":
                world.change(name, ready=False, reason="CrashLoopBackOff")
            case "failed":
                world.change(name, ready=False, phase=Phase.FAILED, reason="Evicted", changed=world.now)
            case "deleted":
                world.change(name, deleting=True)
            case "gone":
                del world.pods[name]
            case "lost":
                world.lost ^= {name}


def check_pass(world: World, of: SnakePool) -> None:
    """One pass, and what must hold for every pass."""
    before, serving_before, lost = world.active(), [each for each in world.ready() if each.name not in world.lost], set(world.lost)
    made = world.reconcile(of)
    new_names = [each.name for each in made.creations]
    assert len(new_names) == len(set(new_names)), "a name twice in one plan"
    assert len(world.active()) <= max(len(before), ceiling(of)), "more pods than desired + surge"
    if made.creations:
        assert len(world.active()) <= ceiling(of), "created above desired + surge"
    least = budget(of.spec.rollout, of.spec.replicas, rolling=True).least_serving
    serving = [each for each in world.ready() if each.name not in lost]
    assert len(serving) >= min(least, len(serving_before)), "too few serve"


@settings(max_examples=150, deadline=None, print_blob=True)
@given(pods(), specs, strategies.data())
def test_no_pass_exceeds_the_surge_or_stops_too_many(start: list[PodView], of: SnakePool, data: strategies.DataObject) -> None:
    world = World(start)
    for _ in range(data.draw(strategies.integers(1, 8))):
        check_pass(world, of)
        disturb(world, data.draw)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(pods(), specs)
def test_converges_from_any_start_state(start: list[PodView], of: SnakePool) -> None:
    world = World(start)
    for _ in range(80):
        check_pass(world, of)
        world.settle()
        world.now += 600  # retries and deadlines come round
    template = template_hash(of.spec)
    assert all(each.ready and each.template_hash == template for each in world.active())
    assert len(world.active()) == of.spec.replicas
    assert world.reconcile(of).deletions == ()


@pytest.mark.parametrize("surge", [0, 1, "25%", "100%"])
def test_a_rollout_of_ten_never_has_fewer_than_ten_minus_max_unavailable(surge: int | str) -> None:
    of = pool(replicas=10, image="example/digits:2", rollout={"maxSurge": surge, "maxUnavailable": 1 if surge == 0 else 0})
    world = World([pod(number) for number in range(10)], START)
    fewest = 10
    for _ in range(60):
        world.reconcile(of)
        fewest = min(fewest, len(world.ready()))
        world.settle()
    assert fewest == (9 if surge == 0 else 10)
    assert {each.template_hash for each in world.active()} == {template_hash(of.spec)}


def test_two_operators_that_see_the_same_do_not_double_anything() -> None:
    world = World([pod(0, deleting=True), pod(1, template_hash="old")])
    of = pool(replicas=3)
    world.reconcile(of)
    seen = len(world.active())
    world.reconcile(of)
    assert len(world.active()) == seen


class Busy(World):
    """A tenth of the capsules run a call at any time, others have sessions."""

    def observed(self) -> Observed:
        seen = super().observed()
        assert seen.fleet is not None
        counted = {
            name: replace(each, running=int(zlib.crc32(name.encode()) % 10 == self.now % 10), sessions=zlib.crc32(name.encode()) % 3)
            for name, each in seen.fleet.capsules.items()
        }
        return Observed(seen.pods, replace(seen.fleet, capsules=counted))


def missed(each: PodView, seen: Observed) -> tuple[bool, int, int]:
    """How much an old one is missed that serves."""
    found = seen.capsule(each)
    assert found is not None
    return found.running > 0, found.sessions, -each.ordinal


def test_a_thousand_capsules_roll_idle_ones_first_then_by_sessions_and_ordinal_and_never_more_or_fewer_than_allowed() -> None:
    of = pool(replicas=1000, image="example/digits:2")
    world, looks = Busy([pod(number, pool()) for number in range(1000)]), 0
    while len(world.pods) > 1000 or any(each.template_hash != template_hash(of.spec) for each in world.active()):
        seen = world.observed()
        old = [each for each in seen.active if each.template_hash != template_hash(of.spec) and seen.serving(each)]
        going = {each.name for each in world.reconcile(of).deletions}
        gone, kept = [[missed(each, seen) for each in old if (each.name in going) is goes] for goes in (True, False)]
        assert not gone or not kept or max(gone) < min(kept)
        assert len(world.active()) <= 1250
        assert len(world.ready()) >= 1000
        world.settle()
        looks += 1
        assert looks < 100
