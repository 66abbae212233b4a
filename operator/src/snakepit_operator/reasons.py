"""The one vocabulary of the operator: the same word in a condition, an event and a log line."""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Why something is so, or was done. Pods and workers bring words of their own beside these."""

    WORKERS_READY = "WorkersReady"
    NO_READY_WORKER = "NoReadyWorker"
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
    CAPSULES_SILENT = "CapsulesSilent"
    ANOTHER_RELEASE = "AnotherRelease"
    STORE_READY = "StoreReady"
    SESSIONS_NEARLY_FULL = "SessionsNearlyFull"
    SESSIONS_FULL = "SessionsFull"
    STORE_UNAVAILABLE = "StoreUnavailable"
    AUTOSCALING_IGNORED = "AutoscalingIgnored"
