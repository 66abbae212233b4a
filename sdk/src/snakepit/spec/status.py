"""The fields of a `SnakePool`'s status: what the pool is, as the operator saw it last. Part of the one source (see `fields`)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from snakepit.spec.limits import Section

CONDITION_TYPE = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
CONDITION_REASON = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
CONDITION_MESSAGE = 32_768
"""As metav1.Condition has them. The API server holds to it; whoever reads a pool takes what there is."""


class Condition(Section, frozen=True, kw_only=True):
    """One aspect of the pool's state."""

    type: Annotated[str, Meta(max_length=316, extra_json_schema={"pattern": CONDITION_TYPE})]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Meta(max_length=1024, extra_json_schema={"pattern": CONDITION_REASON, "minLength": 1})]
    message: Annotated[str, Meta(max_length=CONDITION_MESSAGE)]
    observed_generation: Annotated[int, Meta(ge=0)] = 0
    last_transition_time: Annotated[str, Meta(description="RFC 3339.", extra={"format": "date-time"})]


class ObjectiveStatus(Section, frozen=True, kw_only=True, omit_defaults=True):
    """One objective of the pool's."""

    target_percent: Annotated[float, Meta(description="Percent of calls that are to be good.")]
    budget_left_percent: (
        Annotated[
            int, Meta(description="Of the bad calls that it allows. Negative: it is overspent. Absent: too few calls to allow a bad one.")
        ]
        | None
    ) = None


class SloStatus(Section, frozen=True, kw_only=True, omit_defaults=True):
    """How much of the error budgets is left: of the last 30 days, or since the control plane has counted."""

    since: (
        Annotated[str, Meta(description="RFC 3339. The calls since then count: since a replica's start, if that is later, its own.")] | None
    ) = None
    budget_left_percent: Annotated[int, Meta(description="Of the objective that has less of it.")] | None = None
    availability: ObjectiveStatus | None = None
    latency: ObjectiveStatus | None = None


class SnakePoolStatus(Section, frozen=True):
    """What the pool is, as the operator saw it last."""

    observed_generation: Annotated[int, Meta(description="The generation of the spec that this status speaks of.")] | None = None
    synced_generation: (
        Annotated[int, Meta(description="The oldest generation of the spec that a control-plane replica serves by.")] | None
    ) = None
    replicas: Annotated[int, Meta(description="Capsules that exist.")] | None = None
    ready_replicas: Annotated[int, Meta(description="Capsules with a warm worker.")] | None = None
    updated_replicas: Annotated[int, Meta(description="Capsules of the newest template.")] | None = None
    available_replicas: Annotated[int, Meta(description="Capsules that the control plane sends calls to.")] | None = None
    outdated_replicas: (
        Annotated[int, Meta(description="Capsules whose agent has another image or environment than a new one would have.")] | None
    ) = None
    desired_replicas: Annotated[int, Meta(description="Capsules that there should be.")] | None = None
    recommended_replicas: (
        Annotated[int, Meta(description="Capsules that the demand needs, whether or not `autoscaling` is set.")] | None
    ) = None
    recommendation: Annotated[str, Meta(description="How that number came about.")] | None = None
    selector: Annotated[str, Meta(description="Label selector of the pool's pods.")] | None = None
    release: Annotated[str, Meta(description="The operator's Lease, namespace/name, of the release that looks after the pool.")] | None = (
        None
    )
    workers: Annotated[int, Meta(description="Ready worker processes.")] | None = None
    busy_slots: Annotated[int, Meta(description="Slots that run a call.")] | None = None
    total_slots: Annotated[int, Meta(description="Slots of all ready workers.")] | None = None
    queue_depth: Annotated[int, Meta(description="Calls that wait, at all control-plane replicas.")] | None = None
    sessions: Annotated[int, Meta(description="Sessions of the pool.")] | None = None
    in_use: Annotated[bool, Meta(description="Calls wait or run, or did within 30 s, or a session has its worker there.")] | None = None
    slo: SloStatus | None = None
    reason: Annotated[str, Meta(description="The one word that says most: of the condition that is worst.")] | None = None
    conditions: Annotated[tuple[Condition, ...], Meta(extra={"map_key": "type"})] = ()
