"""Every word that the doctor has for what is wrong, beside those that the control plane, the operator and Kubernetes have. Pure."""

from __future__ import annotations

import enum

from snakepit.client import findings


class Code(enum.StrEnum):
    """`reason` of a finding. docs/troubleshooting.md has a row for each, and a test makes each."""

    NAME_UNKNOWN = "NameUnknown"
    NOTHING_LISTENS = "NothingListens"
    NO_ANSWER = "NoAnswer"
    NO_WAY = "NoWay"
    WRONG_PORT = "WrongPort"
    NOT_ANSWERING = "NotAnswering"
    TLS_MISSING = "TlsMissing"
    TLS_NOT_SPOKEN = "TlsNotSpoken"
    CERTIFICATE_UNKNOWN = "CertificateUnknown"
    CERTIFICATE_OF_ANOTHER = "CertificateOfAnother"
    CERTIFICATE_NOT_YET_VALID = "CertificateNotYetValid"
    CERTIFICATE_EXPIRED = "CertificateExpired"
    CLIENT_CERTIFICATE_MISSING = "ClientCertificateMissing"
    TLS_FILE_UNUSABLE = "TlsFileUnusable"
    TOKEN_MISSING = "TokenMissing"
    TOKEN_UNREADABLE = "TokenUnreadable"
    TOKEN_EXPIRED = "TokenExpired"
    TOKEN_NOT_YET_VALID = "TokenNotYetValid"
    TOKEN_FOR_ANOTHER = "TokenForAnother"
    TOKEN_REFUSED = "TokenRefused"
    CLOCK_SKEW = "ClockSkew"
    VERSION_SKEW = "VersionSkew"
    VERSIONS_MIXED = "VersionsMixed"
    NO_RIGHT = "NoRight"
    REPLICA_AWAY = "ReplicaAway"
    REPLICA_SILENT = "ReplicaSilent"
    REPLICA_NOT_READY = "ReplicaNotReady"
    STORE_UNAVAILABLE = "StoreUnavailable"
    STORE_SLOW = "StoreSlow"
    OPERATOR_AWAY = "OperatorAway"
    OPERATOR_UNHEARD = "OperatorUnheard"
    STORE_FORGETS = "StoreForgets"
    LANES_CLOSED = "LanesClosed"
    POOL_UNKNOWN = "PoolUnknown"
    NO_POOLS = "NoPools"
    SUSPENDED = "Suspended"
    SCALED_TO_ZERO = "ScaledToZero"
    QUEUE_FULL = findings.QUEUE_FULL
    SESSIONS_FULL = findings.SESSIONS_FULL
    SESSIONS_NEARLY_FULL = findings.SESSIONS_NEARLY_FULL
    CAPSULES_MISSING = findings.CAPSULES_MISSING
    CAPSULE_SILENT = findings.CAPSULE_SILENT
    STARTING = findings.STARTING
    OUT_OF_MEMORY = "OutOfMemory"
    CONTROL_PLANE_AWAY = "ControlPlaneAway"
    GATEWAY_AWAY = "GatewayAway"
    PODS_MISSING = "PodsMissing"
    CRD_MISSING = "CrdMissing"
    CRD_OLD = "CrdOld"
    TWO_RELEASES = "TwoReleases"
    ANOTHER_RELEASE = "AnotherRelease"
    POOL_UNSEEN = "PoolUnseen"
    POOL_UNWATCHED = "PoolUnwatched"
    NAMESPACE_NOT_LABELLED = "NamespaceNotLabelled"
    NOT_LOOKED_AT = "NotLookedAt"
