import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_STATE_UNSPECIFIED: _ClassVar[WorkerState]
    WORKER_STATE_STARTING: _ClassVar[WorkerState]
    WORKER_STATE_READY: _ClassVar[WorkerState]
    WORKER_STATE_DRAINING: _ClassVar[WorkerState]
    WORKER_STATE_BACKOFF: _ClassVar[WorkerState]
    WORKER_STATE_STOPPED: _ClassVar[WorkerState]

class Liveness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIVENESS_UNSPECIFIED: _ClassVar[Liveness]
    LIVENESS_LIVE: _ClassVar[Liveness]
    LIVENESS_SUSPECT: _ClassVar[Liveness]
    LIVENESS_LOST: _ClassVar[Liveness]
WORKER_STATE_UNSPECIFIED: WorkerState
WORKER_STATE_STARTING: WorkerState
WORKER_STATE_READY: WorkerState
WORKER_STATE_DRAINING: WorkerState
WORKER_STATE_BACKOFF: WorkerState
WORKER_STATE_STOPPED: WorkerState
LIVENESS_UNSPECIFIED: Liveness
LIVENESS_LIVE: Liveness
LIVENESS_SUSPECT: Liveness
LIVENESS_LOST: Liveness

class Pool(_message.Message):
    __slots__ = ("name", "generation", "desired_capsules", "live_capsules", "ready_workers", "busy_slots", "total_slots", "queue_depth", "sessions", "available", "reason", "message", "sessions_mark", "objectives", "queue_limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DESIRED_CAPSULES_FIELD_NUMBER: _ClassVar[int]
    LIVE_CAPSULES_FIELD_NUMBER: _ClassVar[int]
    READY_WORKERS_FIELD_NUMBER: _ClassVar[int]
    BUSY_SLOTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SLOTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_MARK_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    generation: int
    desired_capsules: int
    live_capsules: int
    ready_workers: int
    busy_slots: int
    total_slots: int
    queue_depth: int
    sessions: int
    available: bool
    reason: str
    message: str
    sessions_mark: int
    objectives: _containers.RepeatedCompositeFieldContainer[Objective]
    queue_limit: int
    def __init__(self, name: _Optional[str] = ..., generation: _Optional[int] = ..., desired_capsules: _Optional[int] = ..., live_capsules: _Optional[int] = ..., ready_workers: _Optional[int] = ..., busy_slots: _Optional[int] = ..., total_slots: _Optional[int] = ..., queue_depth: _Optional[int] = ..., sessions: _Optional[int] = ..., available: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., sessions_mark: _Optional[int] = ..., objectives: _Optional[_Iterable[_Union[Objective, _Mapping]]] = ..., queue_limit: _Optional[int] = ...) -> None: ...

class Objective(_message.Message):
    __slots__ = ("name", "target_percent", "calls", "bad_calls", "since")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_PERCENT_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    BAD_CALLS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    target_percent: float
    calls: int
    bad_calls: int
    since: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., target_percent: _Optional[float] = ..., calls: _Optional[int] = ..., bad_calls: _Optional[int] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("id", "incarnation", "state", "liveness", "slots", "running", "served", "rss_bytes", "restarts", "setup_seconds", "oldest_running_seconds", "reason", "message", "pid", "age_seconds", "own_bytes", "traceback", "taken", "python", "ended", "node")
    ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LIVENESS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    SETUP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_RUNNING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OWN_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    id: str
    incarnation: str
    state: WorkerState
    liveness: Liveness
    slots: int
    running: int
    served: int
    rss_bytes: int
    restarts: int
    setup_seconds: float
    oldest_running_seconds: float
    reason: str
    message: str
    pid: int
    age_seconds: float
    own_bytes: int
    traceback: str
    taken: bool
    python: str
    ended: str
    node: str
    def __init__(self, id: _Optional[str] = ..., incarnation: _Optional[str] = ..., state: _Optional[_Union[WorkerState, str]] = ..., liveness: _Optional[_Union[Liveness, str]] = ..., slots: _Optional[int] = ..., running: _Optional[int] = ..., served: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., restarts: _Optional[int] = ..., setup_seconds: _Optional[float] = ..., oldest_running_seconds: _Optional[float] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., pid: _Optional[int] = ..., age_seconds: _Optional[float] = ..., own_bytes: _Optional[int] = ..., traceback: _Optional[str] = ..., taken: _Optional[bool] = ..., python: _Optional[str] = ..., ended: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...

class ListPoolsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoolsResponse(_message.Message):
    __slots__ = ("pools",)
    POOLS_FIELD_NUMBER: _ClassVar[int]
    pools: _containers.RepeatedCompositeFieldContainer[Pool]
    def __init__(self, pools: _Optional[_Iterable[_Union[Pool, _Mapping]]] = ...) -> None: ...

class GetPoolRequest(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: str
    def __init__(self, pool: _Optional[str] = ...) -> None: ...

class GetPoolResponse(_message.Message):
    __slots__ = ("pool", "spec")
    POOL_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    spec: str
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ..., spec: _Optional[str] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: str
    def __init__(self, pool: _Optional[str] = ...) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[Worker]
    def __init__(self, workers: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ...) -> None: ...

class DrainWorkerRequest(_message.Message):
    __slots__ = ("pool", "worker")
    POOL_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    pool: str
    worker: str
    def __init__(self, pool: _Optional[str] = ..., worker: _Optional[str] = ...) -> None: ...

class DrainWorkerResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecycleWorkerRequest(_message.Message):
    __slots__ = ("pool", "worker")
    POOL_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    pool: str
    worker: str
    def __init__(self, pool: _Optional[str] = ..., worker: _Optional[str] = ...) -> None: ...

class RecycleWorkerResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLogLinesRequest(_message.Message):
    __slots__ = ("pool", "capsule", "worker", "call_id", "limit")
    POOL_FIELD_NUMBER: _ClassVar[int]
    CAPSULE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    pool: str
    capsule: str
    worker: str
    call_id: str
    limit: int
    def __init__(self, pool: _Optional[str] = ..., capsule: _Optional[str] = ..., worker: _Optional[str] = ..., call_id: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListLogLinesResponse(_message.Message):
    __slots__ = ("lines", "problem")
    LINES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    problem: str
    def __init__(self, lines: _Optional[_Iterable[str]] = ..., problem: _Optional[str] = ...) -> None: ...
