from snakepit.v1 import link_pb2 as _link_pb2
from snakepit.v1 import pool_pb2 as _pool_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SyncRequest(_message.Message):
    __slots__ = ("pools", "complete", "drain_capsules", "evicted_capsules", "version", "names", "held_capsules", "changes_only")
    POOLS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    DRAIN_CAPSULES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_CAPSULES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    HELD_CAPSULES_FIELD_NUMBER: _ClassVar[int]
    CHANGES_ONLY_FIELD_NUMBER: _ClassVar[int]
    pools: _containers.RepeatedCompositeFieldContainer[_link_pb2.PoolSettings]
    complete: bool
    drain_capsules: _containers.RepeatedScalarFieldContainer[str]
    evicted_capsules: _containers.RepeatedScalarFieldContainer[str]
    version: int
    names: _containers.RepeatedScalarFieldContainer[str]
    held_capsules: _containers.RepeatedScalarFieldContainer[str]
    changes_only: bool
    def __init__(self, pools: _Optional[_Iterable[_Union[_link_pb2.PoolSettings, _Mapping]]] = ..., complete: _Optional[bool] = ..., drain_capsules: _Optional[_Iterable[str]] = ..., evicted_capsules: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ..., held_capsules: _Optional[_Iterable[str]] = ..., changes_only: _Optional[bool] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("replica", "session_store_ready", "session_store_message", "pools", "version", "refused", "partial")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    SESSION_STORE_READY_FIELD_NUMBER: _ClassVar[int]
    SESSION_STORE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    replica: str
    session_store_ready: bool
    session_store_message: str
    pools: _containers.RepeatedCompositeFieldContainer[PoolState]
    version: int
    refused: _containers.ScalarMap[str, str]
    partial: bool
    def __init__(self, replica: _Optional[str] = ..., session_store_ready: _Optional[bool] = ..., session_store_message: _Optional[str] = ..., pools: _Optional[_Iterable[_Union[PoolState, _Mapping]]] = ..., version: _Optional[int] = ..., refused: _Optional[_Mapping[str, str]] = ..., partial: _Optional[bool] = ...) -> None: ...

class PoolState(_message.Message):
    __slots__ = ("pool", "capsules", "tools", "silence_held", "settings_digest", "demand", "ended")
    class EndedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    POOL_FIELD_NUMBER: _ClassVar[int]
    CAPSULES_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    SILENCE_HELD_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DEMAND_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    pool: _pool_pb2.Pool
    capsules: _containers.RepeatedCompositeFieldContainer[CapsuleState]
    tools: _containers.RepeatedScalarFieldContainer[str]
    silence_held: bool
    settings_digest: bytes
    demand: Demand
    ended: _containers.ScalarMap[str, int]
    def __init__(self, pool: _Optional[_Union[_pool_pb2.Pool, _Mapping]] = ..., capsules: _Optional[_Iterable[_Union[CapsuleState, _Mapping]]] = ..., tools: _Optional[_Iterable[str]] = ..., silence_held: _Optional[bool] = ..., settings_digest: _Optional[bytes] = ..., demand: _Optional[_Union[Demand, _Mapping]] = ..., ended: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Demand(_message.Message):
    __slots__ = ("arrivals_per_second", "dispersion", "service_seconds", "busy_slots", "idle_seconds", "drift")
    ARRIVALS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    DISPERSION_FIELD_NUMBER: _ClassVar[int]
    SERVICE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BUSY_SLOTS_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    arrivals_per_second: float
    dispersion: float
    service_seconds: float
    busy_slots: float
    idle_seconds: float
    drift: float
    def __init__(self, arrivals_per_second: _Optional[float] = ..., dispersion: _Optional[float] = ..., service_seconds: _Optional[float] = ..., busy_slots: _Optional[float] = ..., idle_seconds: _Optional[float] = ..., drift: _Optional[float] = ...) -> None: ...

class CapsuleState(_message.Message):
    __slots__ = ("name", "incarnation", "liveness", "draining", "sessions", "running", "workers", "pod_uid", "recycled", "problem", "ready_workers")
    class RecycledEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    LIVENESS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    POD_UID_FIELD_NUMBER: _ClassVar[int]
    RECYCLED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    READY_WORKERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    incarnation: str
    liveness: _pool_pb2.Liveness
    draining: bool
    sessions: int
    running: int
    workers: _containers.RepeatedCompositeFieldContainer[_pool_pb2.Worker]
    pod_uid: str
    recycled: _containers.ScalarMap[str, int]
    problem: str
    ready_workers: int
    def __init__(self, name: _Optional[str] = ..., incarnation: _Optional[str] = ..., liveness: _Optional[_Union[_pool_pb2.Liveness, str]] = ..., draining: _Optional[bool] = ..., sessions: _Optional[int] = ..., running: _Optional[int] = ..., workers: _Optional[_Iterable[_Union[_pool_pb2.Worker, _Mapping]]] = ..., pod_uid: _Optional[str] = ..., recycled: _Optional[_Mapping[str, int]] = ..., problem: _Optional[str] = ..., ready_workers: _Optional[int] = ...) -> None: ...
