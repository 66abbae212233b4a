import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from snakepit.v1 import common_pb2 as _common_pb2
from snakepit.v1 import pool_pb2 as _pool_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CallState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CALL_STATE_UNSPECIFIED: _ClassVar[CallState]
    CALL_STATE_QUEUED: _ClassVar[CallState]
    CALL_STATE_RUNNING: _ClassVar[CallState]
    CALL_STATE_ENDED: _ClassVar[CallState]
CALL_STATE_UNSPECIFIED: CallState
CALL_STATE_QUEUED: CallState
CALL_STATE_RUNNING: CallState
CALL_STATE_ENDED: CallState

class CallInfo(_message.Message):
    __slots__ = ("id", "pool", "tool", "caller", "session_id", "state", "reason", "error_type", "started", "worker", "incarnation", "replica", "create_time", "queue_seconds", "run_seconds", "total_seconds", "tries", "bytes_in", "bytes_out", "priority", "depth", "parent_call_id", "trace_id", "events")
    ID_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    PARENT_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    pool: str
    tool: str
    caller: str
    session_id: str
    state: CallState
    reason: str
    error_type: str
    started: _common_pb2.Started
    worker: str
    incarnation: str
    replica: str
    create_time: _timestamp_pb2.Timestamp
    queue_seconds: float
    run_seconds: float
    total_seconds: float
    tries: int
    bytes_in: int
    bytes_out: int
    priority: _common_pb2.Priority
    depth: int
    parent_call_id: str
    trace_id: str
    events: _containers.RepeatedCompositeFieldContainer[CallEvent]
    def __init__(self, id: _Optional[str] = ..., pool: _Optional[str] = ..., tool: _Optional[str] = ..., caller: _Optional[str] = ..., session_id: _Optional[str] = ..., state: _Optional[_Union[CallState, str]] = ..., reason: _Optional[str] = ..., error_type: _Optional[str] = ..., started: _Optional[_Union[_common_pb2.Started, str]] = ..., worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., replica: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queue_seconds: _Optional[float] = ..., run_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ..., tries: _Optional[int] = ..., bytes_in: _Optional[int] = ..., bytes_out: _Optional[int] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., depth: _Optional[int] = ..., parent_call_id: _Optional[str] = ..., trace_id: _Optional[str] = ..., events: _Optional[_Iterable[_Union[CallEvent, _Mapping]]] = ...) -> None: ...

class CallEvent(_message.Message):
    __slots__ = ("seconds", "what", "detail")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    what: str
    detail: str
    def __init__(self, seconds: _Optional[float] = ..., what: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class ListCallsRequest(_message.Message):
    __slots__ = ("pool", "state", "tool", "caller", "session_id", "reason", "slower_than_seconds", "limit", "parent_call_id")
    POOL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SLOWER_THAN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PARENT_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    pool: str
    state: CallState
    tool: str
    caller: str
    session_id: str
    reason: str
    slower_than_seconds: float
    limit: int
    parent_call_id: str
    def __init__(self, pool: _Optional[str] = ..., state: _Optional[_Union[CallState, str]] = ..., tool: _Optional[str] = ..., caller: _Optional[str] = ..., session_id: _Optional[str] = ..., reason: _Optional[str] = ..., slower_than_seconds: _Optional[float] = ..., limit: _Optional[int] = ..., parent_call_id: _Optional[str] = ...) -> None: ...

class ListCallsResponse(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[CallInfo]
    def __init__(self, calls: _Optional[_Iterable[_Union[CallInfo, _Mapping]]] = ...) -> None: ...

class GetCallRequest(_message.Message):
    __slots__ = ("pool", "call_id")
    POOL_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    pool: str
    call_id: str
    def __init__(self, pool: _Optional[str] = ..., call_id: _Optional[str] = ...) -> None: ...

class GetCallResponse(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[CallInfo]
    def __init__(self, calls: _Optional[_Iterable[_Union[CallInfo, _Mapping]]] = ...) -> None: ...

class CancelCallRequest(_message.Message):
    __slots__ = ("pool", "call_id")
    POOL_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    pool: str
    call_id: str
    def __init__(self, pool: _Optional[str] = ..., call_id: _Optional[str] = ...) -> None: ...

class CancelCallResponse(_message.Message):
    __slots__ = ("cancelled",)
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    cancelled: bool
    def __init__(self, cancelled: _Optional[bool] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: str
    def __init__(self, pool: _Optional[str] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("minutes", "bounds", "time", "objectives")
    class Minute(_message.Message):
        __slots__ = ("begin_time", "seconds", "queue_seconds", "errors")
        class ErrorsEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: int
            def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
        BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
        SECONDS_FIELD_NUMBER: _ClassVar[int]
        QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
        ERRORS_FIELD_NUMBER: _ClassVar[int]
        begin_time: _timestamp_pb2.Timestamp
        seconds: _containers.RepeatedScalarFieldContainer[int]
        queue_seconds: _containers.RepeatedScalarFieldContainer[int]
        errors: _containers.ScalarMap[str, int]
        def __init__(self, begin_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., seconds: _Optional[_Iterable[int]] = ..., queue_seconds: _Optional[_Iterable[int]] = ..., errors: _Optional[_Mapping[str, int]] = ...) -> None: ...
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    minutes: _containers.RepeatedCompositeFieldContainer[GetHistoryResponse.Minute]
    bounds: _containers.RepeatedScalarFieldContainer[float]
    time: _timestamp_pb2.Timestamp
    objectives: _containers.RepeatedCompositeFieldContainer[_pool_pb2.Objective]
    def __init__(self, minutes: _Optional[_Iterable[_Union[GetHistoryResponse.Minute, _Mapping]]] = ..., bounds: _Optional[_Iterable[float]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., objectives: _Optional[_Iterable[_Union[_pool_pb2.Objective, _Mapping]]] = ...) -> None: ...
