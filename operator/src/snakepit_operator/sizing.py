"""How many capsules a pool has now: as its spec says, or as the autoscaler does, which remembers what was needed before. Pure.

What is remembered makes scaling down slow. A new leader begins with what the status says, and so scales nothing down in a hurry.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from snakepit.spec.fields import AutoscalingSpec, SnakePool
from snakepit_operator.autoscale import DEFAULT, Recommendation, recommend, stabilized, warm_up
from snakepit_operator.model import FleetView, Observed
from snakepit_operator.schedule import least_replicas, problem

LEAST_PAUSE_SECONDS = 5.0
"""Between two looks at a pool that may become smaller, as long as something else keeps it from that."""

WARM_UPS = 50
"""So many capsules tell how long one takes to get warm: the newest."""


class Size(Struct, frozen=True, kw_only=True):
    """How many capsules a pool should have, and what the next decision about that needs to know. Times are Unix seconds.

    `advice`: what its demand needs; None: nobody knows. `policy` is None without autoscaling.
    """

    capsules: int
    advice: Recommendation | None = None
    policy: AutoscalingSpec | None = None
    least: int = 0
    """Of the policy, or of its schedule."""
    slots: int = 1
    warm_ups: tuple[tuple[str, float], ...] = ()
    """Uids of pods that got ready, and after how many seconds."""
    needed: tuple[tuple[float, int], ...] = ()
    """As `stabilized` gives it."""

    def is_short(self, view: FleetView) -> bool:
        """Does the demand need more capsules than there should be?"""
        advice = self.advised(view) if self.policy is not None else None
        return advice is not None and advice.capsules > self.capsules

    def advised(self, fleet: FleetView | None) -> Recommendation | None:
        """What the demand needs now; None: nobody knows."""
        if fleet is None or (demand := fleet.demand) is None:
            return None
        policy = self.policy or DEFAULT
        if not (self.capsules or self.least or demand.waiting or demand.arrivals_per_second):
            return Recommendation(0, "0 capsules: there are no calls")
        return recommend(demand, policy, self.slots, warm_up(seconds for _, seconds in self.warm_ups), least=self.least)


def resize(pool: SnakePool, observed: Observed, before: Size | None, now: float, *, disputed: bool = False) -> Size:
    """The size as of `now`. `before`: the last one, None if nothing is remembered.

    `disputed`: somebody else has written the status since. He may have heard the replicas that we don't hear, and of calls there.
    """
    spec = pool.spec
    policy = None if spec.suspended else spec.autoscaling
    said = pool.status.desired_replicas if pool.status else None
    if before is None:
        # A new pool begins with a capsule, so that whoever made it sees it work.
        capsules = max(1, spec.least_replicas) if said is None else said
        before = Size(capsules=capsules, needed=((now, capsules),))
    elif disputed and said is not None and said > before.capsules and not is_complete(observed):
        before = replace(before, capsules=said, needed=((now, said),))
    least = least_replicas(policy, now) if policy is not None else 1
    size = replace(before, policy=policy, least=least, slots=spec.worker.slots, warm_ups=_warm_ups(before.warm_ups, observed))
    size = replace(size, advice=size.advised(observed.fleet))
    if policy is not None:
        return _scaled(size, policy, observed, now)
    capsules = 0 if spec.suspended else spec.replicas
    # An autoscaler that is switched on goes down from here, in no more of a hurry than from what it has asked for itself.
    return replace(size, capsules=capsules, needed=((now, capsules),))


def _warm_ups(known: Sequence[tuple[str, float]], observed: Observed) -> tuple[tuple[str, float], ...]:
    uids = {uid for uid, _ in known}
    fresh = [(pod.uid, max(0.0, pod.changed - pod.created)) for pod in observed.pods if pod.ready and pod.uid not in uids]
    return (*known, *fresh)[-WARM_UPS:]


def _scaled(size: Size, policy: AutoscalingSpec, observed: Observed, now: float) -> Size:
    bounded = min(max(size.capsules, size.least), policy.max_replicas)
    if (advice := size.advice) is None:
        return replace(size, capsules=bounded)
    if wrong := problem(policy.schedule):
        size = replace(size, advice=replace(advice, reasoning=f"{advice.reasoning}; {wrong}, and counts for nothing"))
    wanted = advice.capsules
    if wanted == 0 and may_go_to_zero(observed, now, policy.idle_seconds):
        return replace(size, capsules=0, needed=())
    wanted = max(wanted, 1 if bounded or observed.active else 0)
    if wanted < bounded and not is_complete(observed):
        return replace(size, capsules=bounded)
    needed = stabilized(size.needed, now, advice.hold_seconds, wanted)
    return replace(size, capsules=min(needed[0][1], policy.max_replicas), needed=needed)


def look_again(size: Size, fleet: FleetView | None, now: float) -> float | None:
    """Seconds until the pool may become smaller without that anything else happens; None: it may not."""
    policy = size.policy
    if policy is None or not size.capsules:
        return None
    times = [size.needed[0][0] + size.advice.hold_seconds - now] if size.advice is not None and len(size.needed) > 1 else []
    if size.least == 0 and fleet is not None and fleet.demand is not None:
        times.append(policy.idle_seconds - fleet.demand.idle_seconds)
    return max(LEAST_PAUSE_SECONDS, min(times)) if times else None


def is_complete(observed: Observed) -> bool:
    """Has every replica of the control plane had its say? Less demand than before may else be that of one that nobody hears."""
    return observed.fleet is not None and not observed.fleet.unheard


def may_go_to_zero(observed: Observed, now: float, idle_seconds: float) -> bool:
    """Do all replicas say that nothing waits or runs, and that no session has its worker there?

    A capsule that has not been ready for so long stays: it was made for somebody, and what keeps it from getting ready should be seen.
    """
    fleet = observed.fleet
    if any(not pod.ready or now - pod.changed < idle_seconds for pod in observed.active):
        return False
    if fleet is None or fleet.unheard or fleet.behind or fleet.queue_depth or fleet.busy_slots:
        return False
    return not any(capsule.running or capsule.sessions for capsule in fleet.capsules.values())
