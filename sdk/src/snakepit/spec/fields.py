"""The fields of a `SnakePool`: names, defaults, limits and what each is for. The one source; the CRD is generated from here.

It never reads a file, evaluates a rule or knows Kubernetes. Rules that look at more than one field are in `rules`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from snakepit.spec.limits import Bytes, Count, CountOrPercent, DrainSeconds, PositiveSeconds, Quantity, Seconds, Section
from snakepit.spec.status import SnakePoolStatus

GROUP = "snakepit.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SnakePool"
PLURAL = "snakepools"
ADAPTER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(:[A-Za-z_][A-Za-z0-9_]*)?$"
NAME_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
NAME_LENGTH = 52
"""A capsule's name is the pool's with up to eleven characters behind, and a host's name has 63."""


_OPEN: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_NAME: dict[str, Any] = {"type": "string", "maxLength": 253, "description": "Not one of the operator's: those begin with snakepit-."}
_NAMED: dict[str, Any] = {"type": "array", "maxItems": 250, "items": {**_OPEN, "properties": {"name": _NAME}}}
TEMPLATE_SCHEMA: dict[str, Any] = {
    "properties": {
        "metadata": {**_OPEN, "description": "Labels and annotations of the pods."},
        "spec": {
            **_OPEN,
            "description": "A PodSpec.",
            "properties": {
                "restartPolicy": {"type": "string", "description": "Always."},
                "terminationGracePeriodSeconds": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Not here: it follows from `drain`.",
                },
                "containers": {**_NAMED, "description": "The author's code runs in the one named `worker`."},
                "initContainers": {**_NAMED, "description": "They run after the agent has started, and before the others."},
                "volumes": {**_NAMED, "description": "Beside the operator's own."},
            },
        },
    }
}
"""As much of a PodTemplateSpec as the rules look at; the API server checks the rest when it gets the pod."""


class AutoscalingTarget(Section, frozen=True):
    """What calls may expect of an autoscaled pool."""

    queue_wait_milliseconds: Annotated[int, Meta(ge=1, le=600_000, description="How long a call may wait for a free slot.")] = 50
    warm_percent: Annotated[float, Meta(ge=50, le=99.99, description="Percent of calls that wait no longer than that.")] = 99.5


class ScheduledMinimum(Section, frozen=True, kw_only=True):
    """From this time on, until the time of another entry, there are at least so many capsules."""

    cron: Annotated[
        str,
        Meta(
            pattern=r"^\S+( +\S+){4}$",
            max_length=200,
            description="Minute, hour, day of month, month and day of week, as in a CronJob.",
            extra={"says": "it must be five fields, like 0 8 * * 1-5: minute, hour, day of month, month, day of week"},
        ),
    ]
    min_replicas: Annotated[int, Meta(ge=0, le=10_000, description="It takes the place of `autoscaling.minReplicas`.")]
    time_zone: Annotated[str, Meta(max_length=100, description="Of the time, as in Europe/Zurich.")] = "UTC"


class AutoscalingSpec(Section, frozen=True, kw_only=True):
    """Follow the load instead of `replicas`, which is ignored then. The status says how many capsules the load needs, and why."""

    min_replicas: Annotated[
        int, Meta(ge=0, le=10_000, description="Never fewer capsules than this. 0: none while there are no calls (`idleSeconds`).")
    ] = 1
    max_replicas: Annotated[int, Meta(ge=1, le=10_000, description="Never more capsules than this.")]
    target: AutoscalingTarget = AutoscalingTarget()
    target_utilization_percent: Annotated[int, Meta(ge=1, le=100, description="Busy slots in percent of all slots, at most.")] = 85
    scale_down_stabilization_seconds: Annotated[
        Seconds,
        Meta(description="Scale down only to the most needed within this time, and within the time that a capsule takes to get warm."),
    ] = 10
    idle_seconds: Annotated[
        PositiveSeconds, Meta(description="After this long without a call, a pool with `minReplicas: 0` goes to zero.")
    ] = 300
    schedule: Annotated[
        tuple[ScheduledMinimum, ...], Meta(max_length=100, description="When there should be more, or fewer, at least.")
    ] = ()


class WorkerSpec(Section, frozen=True):
    """What runs in each capsule."""

    adapter: Annotated[
        str,
        Meta(
            pattern=ADAPTER_PATTERN,
            max_length=512,
            description="package.module:Class, or package.module for the module's own tools.",
            extra={
                "says": "it must be a module and its class, like package.module:Class, or the module alone; it is not the path of a file"
            },
        ),
    ]
    profile: Annotated[
        Literal["process", "thread"],
        Meta(description="process: `processes` workers of one slot each. thread: one worker of `threads` slots."),
    ] = "process"
    processes: Annotated[int, Meta(ge=1, le=256, description="Worker processes in each capsule, with profile process.")] = 1
    threads: Annotated[int, Meta(ge=1, le=256, description="Calls at a time in the one worker, with profile thread.")] = 8
    startup: Annotated[
        Literal["fork", "spawn"], Meta(description="fork: import the adapter once and fork the workers. spawn: each imports it anew.")
    ] = "fork"
    exclusive: Annotated[bool, Meta(description="A worker serves one session, or one call without a session, and is recycled then.")] = (
        False
    )

    @property
    def slots(self) -> int:
        """Calls at a time in each capsule."""
        return self.threads if self.profile == "thread" else self.processes


class QueueSpec(Section, frozen=True):
    """Calls that wait for a free slot, at each control-plane replica."""

    max_size: Annotated[Count, Meta(description="Calls beyond this are refused with POOL_SATURATED.")] = 1000
    timeout_seconds: Annotated[PositiveSeconds, Meta(description="A call that waited this long is refused with QUEUE_TIMEOUT.")] = 10
    activation_timeout_seconds: Annotated[
        PositiveSeconds, Meta(description="The same while the pool scales up from zero, or was ready this recently.")
    ] = 120


class CallSpec(Section, frozen=True):
    """Limits of one call."""

    timeout_seconds: Annotated[PositiveSeconds, Meta(description="Deadline of a unary call whose caller gives none.")] = 300
    stream_timeout_seconds: Annotated[PositiveSeconds, Meta(description="Deadline of a streaming call whose caller gives none.")] = 900
    max_timeout_seconds: Annotated[
        PositiveSeconds, Meta(description="The longest deadline of a call: a caller or a tool that asks for a later one gets this.")
    ] = 86_400
    stream_idle_seconds: Annotated[
        PositiveSeconds, Meta(description="A stream without a chunk, or a word of progress, for this long is ended.")
    ] = 60
    idempotency_ttl_seconds: Annotated[PositiveSeconds, Meta(description="How long the result under an idempotency key is kept.")] = 600
    payloads: Annotated[
        tuple[Literal["json", "msgpack", "pickle"], ...],
        Meta(
            min_length=1,
            max_length=3,
            description="Encodings of arguments, besides JSON. pickle runs code of the caller's choice.",
            extra={"set": True},
        ),
    ] = ("json", "msgpack")
    max_concurrent_per_caller: (
        Annotated[Count, Meta(description="Open calls of one caller at each replica; without it, no limit.")] | None
    ) = None


class HeartbeatSpec(Section, frozen=True):
    """When a silent capsule, or a silent worker that runs no call, is suspected, and when it is given up."""

    interval_seconds: Annotated[PositiveSeconds, Meta(description="Between two heartbeats of a capsule.")] = 2
    timeout_seconds: Annotated[
        PositiveSeconds, Meta(description="Silence until a capsule is lost and its calls fail, or an idle worker is killed.")
    ] = 10
    miss_threshold: Annotated[
        int, Meta(ge=1, le=100, description="Missed heartbeats until a capsule, or an idle worker, gets no calls.")
    ] = 3
    initial_delay_seconds: Annotated[Seconds, Meta(description="Grace after a capsule's first contact, and after a worker's setup().")] = 0


class RecycleSpec(Section, frozen=True):
    """When a worker is replaced by a fresh one, successor first."""

    max_age_seconds: Annotated[PositiveSeconds, Meta(description="Since a worker became ready.")] | None = None
    max_calls: Annotated[int, Meta(ge=1, description="Calls that a worker served.")] | None = None
    max_memory: Annotated[Quantity, Meta(description="Memory that a worker shares with no other process, e.g. 512Mi.")] | None = None
    jitter_percent: Annotated[
        int, Meta(ge=0, le=100, description="Up to this much is taken off each limit, so that workers don't all go at once.")
    ] = 10


class RestartSpec(Section, frozen=True):
    """A worker that exits more often than this before its first call is restarted with growing pauses."""

    max_restarts: Annotated[int, Meta(ge=0, le=1000, description="Exits within the window.")] = 3
    window_seconds: Annotated[PositiveSeconds, Meta(description="The window.")] = 5


class DrainSpec(Section, frozen=True):
    """How a capsule or worker is stopped."""

    timeout_seconds: Annotated[DrainSeconds, Meta(description="Running calls may finish within this time.")] = 60
    kill_after_seconds: Annotated[DrainSeconds, Meta(description="From TERM to KILL, and from a tool's interruption to KILL.")] = 6


class SessionSpec(Section, frozen=True):
    """Limits of the pool's sessions."""

    ttl_seconds: Annotated[PositiveSeconds, Meta(description="A session unused for this long is deleted.")] = 3600
    max_sessions: Annotated[Count, Meta(description="Sessions of the pool.")] = 10_000
    max_per_caller: (
        Annotated[Count, Meta(description="Sessions that one caller has made; without it, eight times as many as are still free.")] | None
    ) = None
    max_keys: Annotated[Count, Meta(description="Keys of one session's state.")] = 10_000
    max_value_bytes: Annotated[Bytes, Meta(description="One value of a session's state, in bytes.")] = 1_048_576
    max_bytes: Annotated[Bytes, Meta(description="A session's whole state, in bytes.")] = 16_777_216
    ordered: Annotated[bool, Meta(description="Calls of a session run one at a time, in arrival order.")] = True


class SloSpec(Section, frozen=True):
    """What the pool's callers may expect. The control plane counts by it, the status says how much of the error budget is left, and the
    chart's alerts tell when it is spent too fast. Without it nothing of that is done.
    """

    availability_percent: (
        Annotated[float, Meta(ge=50, le=99.999, description="Percent of calls that the pool serves: docs/slo.md says which count.")] | None
    ) = None
    latency_milliseconds: (
        Annotated[int, Meta(ge=1, le=86_400_000, description="How long a call may take, from its arrival to its answer. Not of streams.")]
        | None
    ) = None
    latency_percent: Annotated[float, Meta(ge=50, le=99.99, description="Percent of calls that take no longer than that.")] = 99
    tool_errors: Annotated[
        Literal["good", "bad"], Meta(description="Whether a call whose tool raises counts as served. Whoever calls has got an answer.")
    ] = "good"


class RolloutSpec(Section, frozen=True):
    """How capsules are replaced when `worker`, `image` or `template` changes."""

    max_surge: Annotated[CountOrPercent, Meta(description="Capsules above the desired number: a count, or percent rounded up.")] = "25%"
    max_unavailable: Annotated[
        CountOrPercent, Meta(description="Capsules missing from the desired number: a count, or percent rounded down.")
    ] = 0
    progress_deadline_seconds: Annotated[PositiveSeconds, Meta(description="A rollout without progress for this long is reported.")] = 600
    paused: Annotated[bool, Meta(description="Leave capsules of an old template alone.")] = False


class AgentSpec(Section, frozen=True):
    """Our container beside the author's. What isn't said here is as the operator was installed with."""

    resources: (
        Annotated[dict[str, Any], Meta(description="Its ResourceRequirements; a quota counts them.", extra_json_schema=_OPEN)] | None
    ) = None


class SnakePoolSpec(Section, frozen=True, kw_only=True):
    """What the pool should be."""

    replicas: Annotated[int, Meta(ge=0, le=10_000, description="Capsules (pods).")] = 2
    autoscaling: AutoscalingSpec | None = None
    worker: WorkerSpec
    image: (
        Annotated[str, Meta(min_length=1, max_length=1024, description="Of the container `worker`; wins over the template's.")] | None
    ) = None
    template: (
        Annotated[
            dict[str, Any],
            Meta(description="A PodTemplateSpec; the author's code runs in its container `worker`.", extra_json_schema=TEMPLATE_SCHEMA),
        ]
        | None
    ) = None
    agent: AgentSpec | None = None
    queue: QueueSpec = field(default_factory=QueueSpec)
    affinity: Annotated[
        Literal["hint", "strict_queue", "strict_fail_fast"],
        Meta(description="What a session's call does when the session's worker is busy."),
    ] = "hint"
    call: CallSpec = field(default_factory=CallSpec)
    heartbeat: HeartbeatSpec = field(default_factory=HeartbeatSpec)
    recycle: RecycleSpec = field(default_factory=RecycleSpec)
    restart: RestartSpec = field(default_factory=RestartSpec)
    drain: DrainSpec = field(default_factory=DrainSpec)
    session: SessionSpec = field(default_factory=SessionSpec)
    slo: SloSpec | None = None
    rollout: RolloutSpec = field(default_factory=RolloutSpec)
    suspended: Annotated[bool, Meta(description="No capsules, whatever `replicas` says; sessions are kept.")] = False

    @property
    def least_replicas(self) -> int:
        """The fewest capsules that the pool may have while it is not suspended."""
        policy = self.autoscaling
        return self.replicas if policy is None else min([policy.min_replicas, *(each.min_replicas for each in policy.schedule)])

    @property
    def most_replicas(self) -> int:
        """The most capsules that it may have."""
        return self.replicas if self.autoscaling is None else self.autoscaling.max_replicas


class Metadata(Section, frozen=True):
    """The part of an object's metadata that matters here."""

    name: Annotated[str, Meta(pattern=NAME_PATTERN, max_length=NAME_LENGTH)]
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    annotations: dict[str, str] = {}


class SnakePool(Section, frozen=True, kw_only=True):
    """A warm pool of Python workers, and how calls to them are queued and routed."""

    api_version: Literal["snakepit.dev/v1alpha1"] = "snakepit.dev/v1alpha1"
    kind: Literal["SnakePool"] = "SnakePool"
    metadata: Metadata
    spec: SnakePoolSpec
    status: SnakePoolStatus | None = None
