"""What the operator sees, what it decides and the reasons that it gives, as plain values. It has no client and no clock; local mode
fills them from processes.

Times are seconds of one clock that the caller chooses (`now` of `plan`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from msgspec import Struct

from snakepit.spec.status import SloStatus
from snakepit_operator.autoscale import Demand

MOMENT = "%Y-%m-%dT%H:%M:%SZ"
"""A moment in UTC, as Kubernetes writes it."""

HANGS_SECONDS = 10.0
"""A pod whose containers a node has been creating for longer than this hangs."""


class Reason(enum.StrEnum):
    """Why something is so, or was done: one word in conditions, events and log lines. Pods and workers bring words of their own."""

    WORKERS_READY = "WorkersReady"
    STARTING = "Starting"
    SUSPENDED = "Suspended"
    SCALED_TO_ZERO = "ScaledToZero"
    CONTROL_PLANE_UNKNOWN = "ControlPlaneUnknown"
    SETTINGS_CONFIRMED = "SettingsConfirmed"
    SETTINGS_PENDING = "SettingsPending"
    SETTINGS_REFUSED = "SettingsRefused"
    REPLICA_UNKNOWN = "ReplicaUnknown"
    UP_TO_DATE = "UpToDate"
    OUTDATED = "Outdated"
    ROLLING_OUT = "RollingOut"
    ROLLOUT_PAUSED = "RolloutPaused"
    SCALING_UP = "ScalingUp"
    SCALING_DOWN = "ScalingDown"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    AS_EXPECTED = "AsExpected"
    IMAGE_MISSING = "ImageMissing"
    INVALID_SPEC = "InvalidSpec"
    POD_REFUSED = "PodRefused"
    POD_FAILED = "PodFailed"
    POD_STUCK = "PodStuck"
    CAPSULE_LOST = "CapsuleLost"
    DRAINED = "Drained"
    LANE_UNREACHABLE = "LaneUnreachable"
    CAPSULES_SILENT = "CapsulesSilent"
    ANOTHER_RELEASE = "AnotherRelease"
    STORE_READY = "StoreReady"
    SESSIONS_NEARLY_FULL = "SessionsNearlyFull"
    SESSIONS_FULL = "SessionsFull"
    STORE_UNAVAILABLE = "StoreUnavailable"
    SCALED_BY_DEMAND = "ScaledByDemand"
    SCALING_LIMITED = "ScalingLimited"
    WITHIN_BUDGET = "WithinBudget"
    BUDGET_SPENT = "BudgetSpent"
    TOO_FEW_CALLS = "TooFewCalls"


class Phase(enum.StrEnum):
    """A pod's phase, as Kubernetes names it. Pending: the author's container never ran."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class PodView(Struct, frozen=True, kw_only=True):
    """One pod of a pool. `reason` is set when it is stuck or has failed, in the pod's own words."""

    name: str
    uid: str = ""
    ordinal: int
    template_hash: str
    phase: Phase = Phase.PENDING
    ready: bool = False
    deleting: bool = False
    evicted: bool = False
    """Somebody else deletes it: a person, an eviction, the drain of a node."""
    leaving: str = ""
    """Why we end it, where we have begun to: replicas were told, and its agent drains. Its deletion is asked for until it is done."""
    created: float = 0.0
    changed: float = 0.0
    """When it last became ready or not ready, or ended; its creation before that."""
    attempt: int = 0
    """Pods in a row, before this one, that failed in its place."""
    reason: str = ""
    message: str = ""
    agent: str = ""
    """What its agent was started with, as a hash (`pods.agent_hash`)."""
    outdated: bool = False
    """Its agent was started with something else than a new one would be."""
    creating: bool = False
    """A node has it, and no container of it has started: why it hangs, if it does, only its events say."""
    node: str = ""
    avoids: bool = False
    """It may not go to nodes on which capsules were lost."""

    @property
    def finished(self) -> bool:
        """It has ended, well or not."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)

    @property
    def active(self) -> bool:
        """It runs or may still come to run."""
        return not self.deleting and not self.finished and not self.leaving

    @property
    def hangs_at(self) -> float | None:
        """When its node has been at starting it for so long that its events are asked why; None: no node is."""
        return self.created + HANGS_SECONDS if self.creating and not self.deleting else None

    @property
    def stuck(self) -> bool:
        """It should become ready, and something keeps it from that."""
        return self.active and not self.ready and bool(self.reason)


class CapsuleView(Struct, frozen=True, kw_only=True):
    """One capsule as the control plane knows it. `failure` is a worker's own reason and message for not being ready, or not recycled.

    `traceback` is the author's, of that failure. `recycled` counts workers by the reason, as the agent of that incarnation does.
    """

    name: str
    pod_uid: str = ""
    live: bool = False
    lost: bool = False
    draining: bool = False
    """Its agent was told to drain, which can't be taken back."""
    sessions: int = 0
    running: int = 0
    ready_workers: int = 0
    failure: tuple[str, str] | None = None
    traceback: str = ""
    incarnation: str = ""
    recycled: Mapping[str, int] = {}


class FleetView(Struct, frozen=True, kw_only=True):
    """One pool as all control-plane replicas together know it.

    `behind`: replicas that said last that they hold other settings than they should; `refused` is why one can't take them. `unheard`:
    replicas that nothing is heard of now. `held_generation`: the oldest that a replica holds; None: not every one holds any. `demand`: what
    the pool's calls ask for; None: no replica has the pool. `in_use`: it should have a capsule, or keep the last one.
    """

    available: bool = False
    reason: str = ""
    message: str = ""
    ready_workers: int = 0
    busy_slots: int = 0
    total_slots: int = 0
    queue_depth: int = 0
    sessions: int = 0
    sessions_mark: int = 0
    capsules: Mapping[str, CapsuleView] = {}
    silence_held: bool = False
    store_ready: bool = True
    store_message: str = ""
    behind: int = 0
    unheard: int = 0
    refused: str = ""
    held_generation: int | None = None
    demand: Demand | None = None
    in_use: bool = False
    ended: Mapping[str, Mapping[str, int]] = {}
    """Lives of workers that have ended: by the address of each replica that answers, by how, since that one counts them."""
    slo: SloStatus | None = None
    """Of a pool with objectives: what is left of their budgets."""

    def capsule(self, pod: PodView) -> CapsuleView | None:
        """What is known of this very pod: a namesake from before doesn't count."""
        found = self.capsules.get(pod.name)
        return None if found is None or (found.pod_uid and pod.uid and found.pod_uid != pod.uid) else found


class Observed(Struct, frozen=True):
    """Everything that a decision rests on. `fleet` None: no control-plane replica answers."""

    pods: tuple[PodView, ...] = ()
    fleet: FleetView | None = None

    @property
    def active(self) -> tuple[PodView, ...]:
        """The pods that run or may still come to run."""
        return tuple(pod for pod in self.pods if pod.active)

    def capsule(self, pod: PodView) -> CapsuleView | None:
        """What the control plane knows of this pod; None: nothing, or no replica answers."""
        return self.fleet.capsule(pod) if self.fleet else None

    def serving(self, pod: PodView) -> bool:
        """Calls can be running there: Kubernetes or the control plane takes it for ready."""
        capsule = self.capsule(pod)
        return pod.ready or (capsule is not None and capsule.live and capsule.ready_workers > 0)


class Creation(Struct, frozen=True):
    """A pod to create."""

    name: str
    ordinal: int
    template_hash: str
    attempt: int = 0
    avoid: tuple[str, ...] = ()
    """Nodes that it may not go to."""


class Deletion(Struct, frozen=True):
    """A pod to delete, with its drain."""

    name: str
    uid: str
    reason: str
    message: str = ""


class Outcome(Struct, frozen=True):
    """What of a plan was done. `refusal`: why the API server refused a pod, as reason and sentence."""

    created: tuple[Creation, ...] = ()
    deleted: tuple[Deletion, ...] = ()
    refusal: tuple[str, str] | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """What to do now. `drains` are all capsules that should take no new calls, `evicted` those of them that somebody else deletes; `held`
    says what keeps the plan from going on.
    """

    creations: tuple[Creation, ...] = ()
    deletions: tuple[Deletion, ...] = ()
    drains: tuple[str, ...] = ()
    evicted: tuple[str, ...] = ()
    held: Reason | None = None
    requeue_after: float | None = None
