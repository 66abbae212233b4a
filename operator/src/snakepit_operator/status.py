"""The whole status of a pool, from scratch, every time: counts and conditions. Pure.

Nothing is carried over from the last status but the time at which a condition's status last changed, and, while a replica is unheard, what
is left of error budgets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from snakepit.spec.fields import AutoscalingSpec, SnakePool
from snakepit.spec.status import CONDITION_MESSAGE, Condition, SloStatus, SnakePoolStatus
from snakepit_operator.autoscale import Recommendation
from snakepit_operator.model import MOMENT, FleetView, Observed, Plan, PodView, Reason
from snakepit_operator.pods import POOL_LABEL
from snakepit_operator.rollout import RESTARTED_AT, desired, pool_hash

AVAILABLE, PROGRESSING, DEGRADED = "Available", "Progressing", "Degraded"
READY, STALLED = "Ready", "Stalled"
"""What is so, in one word, for tools that know no conditions of ours: kstatus, and whatever waits by it."""
SYNCED, STORE, AUTOSCALING, OBJECTIVES = "Synced", "SessionStoreReady", "AutoscalingActive", "ObjectivesMet"


class Kind(Struct, frozen=True):
    """A condition: when it is there, and what its being True says."""

    meaning: str
    there: str = "always"


CONDITIONS = {
    READY: Kind("The pool is what its spec says. Its reason is the worst of the others', and the column of `kubectl get`."),
    AVAILABLE: Kind("A call can be served now."),
    PROGRESSING: Kind("A rollout, or another size, is on its way."),
    DEGRADED: Kind("A pod or a worker has a fault. What serves still serves."),
    SYNCED: Kind("Every replica of the control plane goes by this generation of the spec."),
    STORE: Kind("Sessions can be read and written."),
    AUTOSCALING: Kind("The pool's size follows its calls.", "with `autoscaling`"),
    OBJECTIVES: Kind("No more calls were bad than the objectives allow.", "with `slo`"),
    STALLED: Kind("Nothing gets on by itself: the spec, or somebody, has to help.", "while it is True"),
}
"""The one table of them; each of a pool's is a row of it."""

_AWAY = "no control-plane replica answers; nothing is scaled down until one does"
_MESSAGE_LENGTH = 1024
_REASON_LENGTH = 1024
_NO_WORD = re.compile(r"[^A-Za-z0-9_,:]")
_WISHED = frozenset({Reason.SUSPENDED, Reason.SCALED_TO_ZERO})
_HOPELESS = frozenset({Reason.IMAGE_MISSING, Reason.INVALID_SPEC, Reason.PROGRESS_DEADLINE_EXCEEDED})
_OUTDATED = (
    "began with another agent image, log level or environment of the agent than now, and goes on with it: "
    f"give the pool the annotation {RESTARTED_AT} to have all of them replaced, in turn"
)
_SILENT = (
    "more than half of the capsules are silent at once, which is more likely a fault of the network, the nodes or the control plane: "
    "none is declared lost for it, for ten times heartbeat.timeoutSeconds"
)


class Finding(Struct, frozen=True):
    """A condition without its times."""

    status: str
    reason: str
    message: str


def pool_selector(pool: SnakePool) -> str:
    """The label selector of the pool's pods."""
    return f"{POOL_LABEL}={pool.metadata.name}"


def status(
    pool: SnakePool,
    observed: Observed,
    plan: Plan,
    now: float,
    problem: tuple[str, str] | None = None,
    advice: Recommendation | None = None,
) -> SnakePoolStatus:
    """Everything about the pool as of `now` (Unix seconds). `problem`: why pods can't be made at all, as reason and sentence.

    `spec.replicas` is the size that was decided on, whoever did; `advice`: what the demand needs.
    """
    view = _View(pool, observed, plan, now, problem, advice)
    findings = view.findings()
    ready, stuck = summary(findings), {STALLED: found} if (found := stalled(findings)) else {}
    fleet = observed.fleet
    return SnakePoolStatus(
        observed_generation=pool.metadata.generation,
        synced_generation=fleet.held_generation if fleet else None,
        replicas=len(view.active),
        ready_replicas=view.ready,
        updated_replicas=view.updated,
        available_replicas=sum(1 for pod in view.active if (c := observed.capsule(pod)) and c.live and c.ready_workers) if fleet else None,
        outdated_replicas=view.outdated,
        desired_replicas=view.wanted,
        recommended_replicas=advice.capsules if advice else None,
        recommendation=advice.reasoning if advice else None,
        selector=pool_selector(pool),
        workers=fleet.ready_workers if fleet else None,
        busy_slots=fleet.busy_slots if fleet else None,
        total_slots=fleet.total_slots if fleet else None,
        queue_depth=fleet.queue_depth if fleet else None,
        sessions=fleet.sessions if fleet else None,
        in_use=fleet.in_use if fleet else None,
        slo=view.slo,
        reason=ready.reason,
        conditions=conditions({READY: ready, **findings, **stuck}, pool, now),
    )


def summary(findings: Mapping[str, Finding]) -> Finding:
    """Ready, for who waits for one condition; its reason is the one word of `kubectl get`: of the worst that is so."""
    for type_, fine in ((DEGRADED, ("False",)), (AVAILABLE, ("True",)), (STORE, ("True", "Unknown")), (SYNCED, ("True", "Unknown"))):
        found = findings[type_]
        if found.status not in fine:
            status = "True" if found.reason in _WISHED else "Unknown" if found.status == "Unknown" else "False"
            return Finding(status, found.reason, found.message)
    if findings[PROGRESSING].status == "True":
        return msgspec.structs.replace(findings[PROGRESSING], status="False")
    scaling = findings.get(AUTOSCALING)
    if scaling is not None and scaling.reason == Reason.SCALING_LIMITED:
        return scaling
    return msgspec.structs.replace(findings[AVAILABLE], reason=READY)


def stalled(findings: Mapping[str, Finding]) -> Finding | None:
    """What only another spec, or somebody's help, gets on; None: nothing does. Tools that wait give up then."""
    found = findings[DEGRADED]
    return msgspec.structs.replace(found, status="True") if found.status == "True" and found.reason in _HOPELESS else None


def conditions(findings: Mapping[str, Finding], pool: SnakePool, now: float) -> tuple[Condition, ...]:
    """The findings as conditions; the time of one whose status is as before stays."""
    before = {each.type: each for each in pool.status.conditions} if pool.status else {}
    stamp = datetime.fromtimestamp(now, UTC).strftime(MOMENT)
    return tuple(
        Condition(
            type=type_,
            status=finding.status,  # type: ignore[arg-type]
            reason=word(finding.reason),
            message=finding.message[:CONDITION_MESSAGE],
            observed_generation=pool.metadata.generation,
            last_transition_time=was.last_transition_time if (was := before.get(type_)) and was.status == finding.status else stamp,
        )
        for type_, finding in findings.items()
    )


def word(reason: str) -> str:
    """A reason as a condition may have it. Pods and workers bring words of their own: one that is none would keep the status unwritten."""
    kept = _NO_WORD.sub("", reason[:_REASON_LENGTH]).lstrip("0123456789_,:").rstrip(",:")
    return kept or "Unknown"


class _View:
    """The facts that several conditions share."""

    def __init__(
        self,
        pool: SnakePool,
        observed: Observed,
        plan: Plan,
        now: float,
        problem: tuple[str, str] | None,
        advice: Recommendation | None,
    ) -> None:
        self.advice = advice
        self.pool, self.observed, self.plan, self.now, self.problem = pool, observed, plan, now, problem
        self.wanted = desired(pool.spec)
        self.active = observed.active
        self.ready = sum(1 for pod in self.active if observed.serving(pod))
        template = pool_hash(pool)
        self.updated = sum(1 for pod in self.active if pod.template_hash == template)
        self.outdated = sum(1 for pod in self.active if pod.outdated)
        self.trouble = _trouble(observed, problem)
        self.slo = _slo(pool, observed.fleet)

    def findings(self) -> dict[str, Finding]:
        fleet, unknown = self.observed.fleet, Finding("Unknown", Reason.CONTROL_PLANE_UNKNOWN, _AWAY)
        found = {
            AVAILABLE: self.available(fleet) if fleet else unknown,
            PROGRESSING: self.progressing(),
            DEGRADED: self.degraded(),
            SYNCED: self.synced(fleet) if fleet else unknown,
            STORE: self.store(fleet) if fleet else unknown,
        }
        if (policy := self.pool.spec.autoscaling) is not None:
            found[AUTOSCALING] = self.autoscaling(policy)
        if self.pool.spec.slo is not None:
            found[OBJECTIVES] = self.objectives() if fleet else unknown
        return found

    def available(self, fleet: FleetView) -> Finding:
        if fleet.available:
            slots = f"{fleet.busy_slots} of {_count(fleet.total_slots, 'slot')} busy"
            return Finding("True", Reason.WORKERS_READY, f"{_count(fleet.ready_workers, 'worker')} ready, {slots}")
        if self.wanted == 0:
            if fleet.behind:
                return Finding("False", *self._behind(fleet))
            reason = Reason.SUSPENDED if self.pool.spec.suspended else Reason.SCALED_TO_ZERO
            return Finding("False", reason, "no capsules are wanted")
        if self.trouble:
            return Finding("False", *self.trouble)
        return Finding("False", Reason.STARTING, fleet.message or f"{self.ready} of {_count(self.wanted, 'capsule')} ready, no worker yet")

    def progressing(self) -> Finding:
        if self.plan.held:
            return Finding("Unknown", self.plan.held, _AWAY)
        counts = f"{self.ready} of {_count(self.wanted, 'capsule')} ready, {self.updated} of the newest template"
        reason = self._movement()
        if reason is None and self.outdated:
            return Finding("False", Reason.OUTDATED, f"{counts}; {_count(self.outdated, 'capsule')} {_OUTDATED}")
        if reason is None:
            return Finding("False", Reason.UP_TO_DATE, counts)
        if reason is Reason.ROLLOUT_PAUSED:
            return Finding("False", reason, f"{counts}; rollout.paused is set")
        if self._late():
            return Finding("False", Reason.PROGRESS_DEADLINE_EXCEEDED, f"{counts}; nothing moved for {self._deadline():g} s")
        return Finding("True", reason, counts)

    def degraded(self) -> Finding:
        if self.trouble:
            return Finding("True", *self.trouble)
        if self._movement() not in (None, Reason.ROLLOUT_PAUSED) and self._late():
            return Finding("True", Reason.PROGRESS_DEADLINE_EXCEEDED, f"nothing moved for {self._deadline():g} s")
        return Finding("False", Reason.AS_EXPECTED, "no capsule or worker reports a fault")

    def synced(self, fleet: FleetView) -> Finding:
        if fleet.behind:
            return Finding("False", *self._behind(fleet))
        generation = self.pool.metadata.generation
        if fleet.unheard:
            heard = f"those that answer hold generation {generation}"
            return Finding("Unknown", Reason.REPLICA_UNKNOWN, f"{_count(fleet.unheard, 'control-plane replica')} not heard now; {heard}")
        return Finding("True", Reason.SETTINGS_CONFIRMED, f"every control-plane replica holds generation {generation}")

    def _behind(self, fleet: FleetView) -> tuple[str, str]:
        where = f"{_count(fleet.behind, 'control-plane replica')} without generation {self.pool.metadata.generation}"
        if fleet.refused:
            return Reason.SETTINGS_REFUSED, f"{where}: {fleet.refused}"[:_MESSAGE_LENGTH]
        return Reason.SETTINGS_PENDING, f"{where} of the spec yet: calls there go by what it held before"

    def store(self, fleet: FleetView) -> Finding:
        if fleet.store_ready:
            return self._sessions(fleet.sessions_mark, fleet.store_message)
        why = f" ({fleet.store_message})" if fleet.store_message else ""
        return Finding("False", Reason.STORE_UNAVAILABLE, f"the session store can't be used{why}; calls without a session go on")

    def _sessions(self, mark: int, note: str) -> Finding:
        if not mark:
            return Finding("True", Reason.STORE_READY, f"sessions can be read and written{note and f'; {note}'}")
        full = mark >= 100
        message = f"{mark} % of the {self.pool.spec.session.max_sessions} sessions that session.maxSessions allows are in use"
        then = "; new ones are refused" if full else ""
        return Finding("True", Reason.SESSIONS_FULL if full else Reason.SESSIONS_NEARLY_FULL, f"{message}{then}")

    def autoscaling(self, policy: AutoscalingSpec) -> Finding:
        advice, size = self.advice, _count(self.wanted, "capsule")
        if self.pool.spec.suspended:
            return Finding("False", Reason.SUSPENDED, "the pool is suspended")
        if advice is None:
            return Finding("Unknown", Reason.CONTROL_PLANE_UNKNOWN, f"nothing is known of the demand: the pool keeps {size}")
        said = advice.reasoning
        if self.wanted > advice.capsules:
            said += f"; {size} for now: down after {advice.hold_seconds:.0f} s of less, while every replica is heard"
            said += "" if advice.capsules else ", and to 0 when no session has its worker there"
        limited = advice.is_limited and self.wanted == policy.max_replicas
        return Finding("True", Reason.SCALING_LIMITED if limited else Reason.SCALED_BY_DEMAND, f"{said}; spec.replicas is ignored")

    def objectives(self) -> Finding:
        """Without figures, which change all the time: `status.slo` has them."""
        slo = self.slo or SloStatus()
        found = {name: each for name, each in (("availability", slo.availability), ("latency", slo.latency)) if each is not None}
        left = {name: each.budget_left_percent for name, each in found.items() if each.budget_left_percent is not None}
        spent = [f"{name} ({found[name].target_percent:g} %)" for name, each in left.items() if each < 0]
        if spent:
            return Finding(
                "False", Reason.BUDGET_SPENT, f"more calls were bad than the objective allows: {', '.join(spent)}; see status.slo"
            )
        if not left:
            return Finding("Unknown", Reason.TOO_FEW_CALLS, "the objectives allow not one bad call of so few")
        return Finding("True", Reason.WITHIN_BUDGET, "no more calls were bad than the objectives allow")

    def _movement(self) -> Reason | None:
        old = len(self.active) - self.updated
        if old:
            return Reason.ROLLOUT_PAUSED if self.pool.spec.rollout.paused else Reason.ROLLING_OUT
        if len(self.active) > self.wanted:
            return Reason.SCALING_DOWN
        return Reason.SCALING_UP if self.ready < self.wanted else None

    def _late(self) -> bool:
        moved = max((max(pod.created, pod.changed) for pod in self.observed.pods), default=0.0)
        return self.now - max(moved, self._since()) > self._deadline()

    def _since(self) -> float:
        """When the progress began that goes on: now, unless the last status speaks of it. Pods that have gone don't tell."""
        before = self.pool.status.conditions if self.pool.status else ()
        was = next((each for each in before if each.type == PROGRESSING), None)
        if was is None:
            return self.now
        if was.status == "True":
            return datetime.fromisoformat(was.last_transition_time).timestamp()
        gave_up = was.reason == Reason.PROGRESS_DEADLINE_EXCEEDED and was.observed_generation == self.pool.metadata.generation
        return 0.0 if gave_up else self.now

    def _deadline(self) -> float:
        return self.pool.spec.rollout.progress_deadline_seconds


def _slo(pool: SnakePool, fleet: FleetView | None) -> SloStatus | None:
    """What is left of the budgets. Those that answer now have counted but a part while a replica is unheard: then the last word stays."""
    spec, said = pool.spec.slo, pool.status.slo if pool.status else None
    if fleet is None or spec is None:
        return None
    if not fleet.unheard or said is None:
        return fleet.slo
    promised = spec.availability_percent, None if spec.latency_milliseconds is None else spec.latency_percent
    spoken_of = tuple(None if each is None else each.target_percent for each in (said.availability, said.latency))
    return said if spoken_of == promised else fleet.slo


def _trouble(observed: Observed, problem: tuple[str, str] | None) -> tuple[str, str] | None:
    """The most common fault, in the words of the pod or worker that has it."""
    if problem:
        return problem
    if observed.fleet is not None and observed.fleet.silence_held:
        return Reason.CAPSULES_SILENT, _SILENT
    faults = [*_pod_faults(observed.pods), *_worker_faults(observed)]
    if not faults:
        return None
    reason, count = Counter(reason for reason, _, _, _ in faults).most_common(1)[0]
    where, message, traceback = next((where, message, traceback) for each, where, message, traceback in faults if each == reason)
    others = f" (and {count - 1} more)" if count > 1 else ""
    said = f"{where}{others}: {message or reason}"[:_MESSAGE_LENGTH]
    return reason, f"{said}\n{traceback}" if traceback else said


_Fault = tuple[str, str, str, str]
"""Reason, whose it is, message, the author's traceback."""


def _pod_faults(pods: Iterable[PodView]) -> list[_Fault]:
    faulty = [pod for pod in pods if pod.stuck or (pod.finished and not pod.deleting)]
    return [(pod.reason or Reason.POD_FAILED, f"pod {pod.name}", pod.message, "") for pod in faulty]


def _worker_faults(observed: Observed) -> list[_Fault]:
    capsules = [c for pod in observed.active if (c := observed.capsule(pod))]
    return [(c.failure[0], f"a worker of {c.name}", c.failure[1], c.traceback) for c in capsules if c.failure]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
