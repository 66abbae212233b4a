"""Kubernetes' objects and the fleet's messages to the values of `model`. Pure; every reader of a raw pod goes through here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec

from snakepit._objectives import budget_left
from snakepit.spec.fields import SnakePool
from snakepit.spec.status import ObjectiveStatus, SloStatus
from snakepit.v1 import fleet_pb2, pool_pb2
from snakepit_operator.autoscale import Demand
from snakepit_operator.model import MOMENT, CapsuleView, FleetView, Phase, PodView, Reason
from snakepit_operator.pods import AGENT_ANNOTATION, ATTEMPT_ANNOTATION, AVOIDS_ANNOTATION, HASH_LABEL, ORDINAL_LABEL

Object = Mapping[str, Any]

RECENT_SECONDS = 30.0
"""A pool is in use for so long after its last call: who looks every 30 s, as KEDA does, misses none."""

_HARMLESS_WAITING = {"ContainerCreating", "PodInitializing", ""}
_CRASHES = "CrashLoopBackOff"
_ONE_FAULT = {"ErrImagePull": "ImagePullBackOff"}
"""The kubelet alternates between the two for as long as the image can't be pulled: one name, or each turn would be news."""

START_FAULTS = frozenset({"ImportFailed", "AdapterInvalid", "SetupFailed", "SetupTimeout", "ForkFailed", "StartFailed"})
"""A worker that starts again after one of these has it still: the agent forgets it when the worker is ready."""

SUCCESSOR_FAILED = "SuccessorFailed"
"""A worker that should be recycled serves on, as its successor can't start."""


def pool_view(raw: Object) -> SnakePool:
    """A SnakePool as the API server gives it. Raises msgspec.ValidationError for one that a newer CRD allows."""
    return msgspec.convert(raw, SnakePool)


def pod_view(raw: Object) -> PodView:
    """One pod of a pool."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    created, node = _time(metadata.get("creationTimestamp")), (raw.get("spec") or {}).get("nodeName") or ""
    ready: Object = next((each for each in status.get("conditions") or () if each["type"] == "Ready"), {})
    reason, message = _fault(status, ready)
    return PodView(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        ordinal=_int(labels.get(ORDINAL_LABEL)),
        template_hash=labels.get(HASH_LABEL, ""),
        phase=Phase(status.get("phase") or Phase.PENDING),
        ready=ready.get("status") == "True",
        deleting=bool(metadata.get("deletionTimestamp")),
        created=created,
        changed=max(created, _time(ready.get("lastTransitionTime"))),
        attempt=_int(annotations.get(ATTEMPT_ANNOTATION)),
        reason=reason,
        message=message,
        agent=annotations.get(AGENT_ANNOTATION, ""),
        node=node,
        avoids=bool(annotations.get(AVOIDS_ANNOTATION)),
        creating=bool(node) and not reason and all((each.get("state") or {}).keys() <= {"waiting"} for each in _containers(status)),
    )


def with_fault(pod: PodView, events: Iterable[Object]) -> PodView:
    """The pod with the reason and message of the newest of its events, if that one is a warning: a volume, a sandbox, an address."""
    newest: Object = max(events, key=_told, default={})
    if newest.get("type") != "Warning":
        return pod
    return msgspec.structs.replace(pod, reason=newest.get("reason") or "Hanging", message=newest.get("message") or "")


def _told(event: Object) -> float:
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return _time(last or event.get("firstTimestamp"))


def _fault(status: Object, ready: Object) -> tuple[str, str]:
    """Why the pod doesn't get on, in its own words: ended, not schedulable, or a container that can't start, or not for long."""
    if status.get("phase") in (Phase.FAILED, Phase.SUCCEEDED):
        return _end(status)
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return condition.get("reason") or "Unschedulable", condition.get("message") or ""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "") not in _HARMLESS_WAITING:
            reason = _ONE_FAULT.get(waiting["reason"], waiting["reason"])
            return reason, f"container {container['name']}: {waiting.get('message') or waiting['reason']}{_last_exit(container)}"
    for container in _containers(status):
        if ready.get("status") == "False" and _crashes(container, _time(ready.get("lastTransitionTime"))):
            said = f"container {container['name']}: started again {container['restartCount']} times, and not ready since"
            return _CRASHES, f"{said}{_last_exit(container)}"
    return "", ""


def _crashes(container: Object, unready: float) -> bool:
    """Has it ended several times, and is running or about to? Each turn of it would be news; the kubelet has a word for the pauses only.

    A pod that was ready in the container's present life, and is not since, has another fault.
    """
    began = ((container.get("state") or {}).get("running") or {}).get("startedAt")
    return bool(_last_exit(container)) and container.get("restartCount", 0) > 1 and (began is None or unready <= _time(began))


def _end(status: Object) -> tuple[str, str]:
    """Why a pod ended: what the kubelet says of it, or of the eviction, or how its containers ended."""
    targets = (each for each in status.get("conditions") or () if each["type"] == "DisruptionTarget" and each["status"] == "True")
    target: Object = next(targets, {})
    plain = "Failed" if status["phase"] == Phase.FAILED else "Completed"
    reason = status.get("reason") or target.get("reason") or plain
    return reason, status.get("message") or target.get("message") or _exits(status) or f"the pod ended ({plain})"


def _containers(status: Object) -> list[Object]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _last_exit(container: Object) -> str:
    ended = (container.get("lastState") or {}).get("terminated")
    return f" (last exit: {ended.get('reason') or 'Error'}, code {ended.get('exitCode')})" if ended else ""


def _exits(status: Object) -> str:
    ended = [(each["name"], each["state"]["terminated"]) for each in _containers(status) if "terminated" in (each.get("state") or {})]
    return "; ".join(f"container {name} ended with code {end.get('exitCode')}: {end.get('reason') or 'Error'}" for name, end in ended)


def fleet_view(
    states: Mapping[str, fleet_pb2.PoolState], answers: Sequence[fleet_pb2.SyncResponse], capsules: Iterable[Iterable[CapsuleView]]
) -> FleetView:
    """One pool out of what all replicas say of it. Queues add up; of all else each replica sees the same, or less for a moment.

    `states`: by the replica's address. `capsules`: those of each state, as `capsules_of` reads them.
    """
    said = tuple(states.values())
    pools = [state.pool for state in said]
    fullest = max(pools, key=lambda each: (each.available, each.ready_workers), default=pool_pb2.Pool())
    broken = [answer for answer in answers if not answer.session_store_ready]
    known, demand = _merged(capsules), _demand(said)
    busy, queued = max([each.busy_slots for each in pools], default=0), sum([each.queue_depth for each in pools])
    return FleetView(
        available=fullest.available,
        reason=fullest.reason,
        message=fullest.message,
        ready_workers=fullest.ready_workers,
        busy_slots=busy,
        total_slots=fullest.total_slots,
        queue_depth=queued,
        sessions=max([each.sessions for each in pools], default=0),
        sessions_mark=max([each.sessions_mark for each in pools], default=0),
        capsules=known,
        silence_held=bool(said) and all(state.silence_held for state in said),
        store_ready=not broken,
        store_message=next((answer.session_store_message for answer in broken or answers), ""),
        demand=demand,
        in_use=bool(busy or queued) or _is_in_use(demand, known),
        ended={address: dict(state.ended) for address, state in states.items()},
        slo=_slo(pools),
    )


def _slo(pools: Sequence[pool_pb2.Pool]) -> SloStatus | None:
    """Each replica has counted its own calls. Of the budgets only what is told: a view is another one where they have become another."""
    said: dict[str, list[pool_pb2.Objective]] = {}
    for each in (objective for pool in pools for objective in pool.objectives):
        said.setdefault(each.name, []).append(each)
    if not said:
        return None
    found = {name: _objective(each) for name, each in said.items()}
    left = [each.budget_left_percent for each in found.values() if each.budget_left_percent is not None]
    since = min(each.since.seconds for each in chain.from_iterable(said.values()))
    return SloStatus(
        since=datetime.fromtimestamp(since, UTC).strftime(MOMENT),
        budget_left_percent=min(left, default=None),
        availability=found.get("availability"),
        latency=found.get("latency"),
    )


def _objective(said: Sequence[pool_pb2.Objective]) -> ObjectiveStatus:
    target = said[0].target_percent
    left = budget_left(target, sum(each.calls for each in said), sum(each.bad_calls for each in said))
    return ObjectiveStatus(target_percent=target, budget_left_percent=left)


def _is_in_use(demand: Demand | None, capsules: Mapping[str, CapsuleView]) -> bool:
    """A replica that has just started has heard of no call yet, and counts from then: where no capsule is, that is no use."""
    recent = demand is not None and demand.idle_seconds < RECENT_SECONDS
    return any(each.running or each.sessions or (recent and each.live) for each in capsules.values())


def _demand(states: Sequence[fleet_pb2.PoolState]) -> Demand | None:
    """Each replica counts the calls that came to it; what runs in a worker all of them see."""
    said = [state.demand for state in states]
    if not said:
        return None
    arrivals = sum([each.arrivals_per_second for each in said])
    timed = [each for each in said if each.service_seconds]
    weights = [each.arrivals_per_second or 1e-9 for each in timed]
    return Demand(
        arrivals_per_second=arrivals,
        dispersion=sum([each.dispersion * each.arrivals_per_second for each in said]) / arrivals if arrivals else 1.0,
        service_seconds=sum([each.service_seconds * w for each, w in zip(timed, weights, strict=True)]) / sum(weights) if timed else 0.0,
        busy_slots=max([each.busy_slots for each in said]),
        waiting=sum([state.pool.queue_depth for state in states]),
        idle_seconds=min([each.idle_seconds for each in said]),
        drift=sum([each.drift for each in said]),
    )


def _merged(capsules: Iterable[Iterable[CapsuleView]]) -> dict[str, CapsuleView]:
    """Each capsule by its name. One that a replica calls lost is so: others that say otherwise have not heard of it yet, or are cut off.

    Its name may have another life.
    """
    said = [each for views in capsules for each in views]
    lost = {each.incarnation for each in said if each.lost}
    known: dict[str, list[CapsuleView]] = {}
    for each in said:
        if each.lost or each.incarnation not in lost:
            known.setdefault(each.name, []).append(each)
    return {name: _merge(views) for name, views in known.items()}


def _merge(views: list[CapsuleView]) -> CapsuleView:
    if len(views) == 1:
        return views[0]
    best = max(views, key=lambda view: (not view.lost, view.live, view.ready_workers))
    return msgspec.structs.replace(
        best,
        sessions=max([view.sessions for view in views]),
        running=max([view.running for view in views]),
        draining=any(view.draining for view in views if view.incarnation == best.incarnation),
        recycled=_most(view.recycled for view in views if view.incarnation == best.incarnation),
    )


def _most(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The highest count of each reason: a replica may be a moment behind."""
    most: dict[str, int] = {}
    for each in counts:
        most.update({reason: count for reason, count in each.items() if count > most.get(reason, 0)})
    return most


def capsules_of(state: fleet_pb2.PoolState) -> tuple[CapsuleView, ...]:
    """What one replica knows of a pool's capsules."""
    return tuple([_capsule(each) for each in state.capsules])


def _capsule(state: fleet_pb2.CapsuleState) -> CapsuleView:
    failing, liveness = [each for each in state.workers if _is_failing(each)], state.liveness
    return CapsuleView(
        name=state.name,
        pod_uid=state.pod_uid,
        live=liveness == pool_pb2.LIVENESS_LIVE,
        lost=liveness == pool_pb2.LIVENESS_LOST,
        draining=state.draining,
        sessions=state.sessions,
        running=state.running,
        ready_workers=state.ready_workers,
        failure=_failure(state, failing),
        traceback=next((each.traceback for each in failing if each.traceback), "") if failing else "",
        incarnation=state.incarnation,
        recycled=dict(state.recycled) if state.recycled else {},
    )


def _failure(state: fleet_pb2.CapsuleState, failing: Sequence[pool_pb2.Worker]) -> tuple[str, str] | None:
    if state.problem:
        return Reason.LANE_UNREACHABLE, state.problem
    return (failing[0].reason or "BackOff", failing[0].message) if failing else None


def _is_failing(worker: pool_pb2.Worker) -> bool:
    if worker.reason == SUCCESSOR_FAILED:
        return True
    retrying = worker.state == pool_pb2.WORKER_STATE_STARTING and worker.reason in START_FAULTS
    return retrying or worker.state == pool_pb2.WORKER_STATE_BACKOFF


def _time(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _int(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
