from google.protobuf import struct_pb2 as _struct_pb2
from snakepit.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecuteRequest(_message.Message):
    __slots__ = ("pool", "tool", "json", "payload", "session_id", "affinity", "priority", "idempotency_key", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    POOL_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    pool: str
    tool: str
    json: _struct_pb2.Struct
    payload: _common_pb2.Payload
    session_id: str
    affinity: _common_pb2.Affinity
    priority: _common_pb2.Priority
    idempotency_key: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, pool: _Optional[str] = ..., tool: _Optional[str] = ..., json: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., payload: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., session_id: _Optional[str] = ..., affinity: _Optional[_Union[_common_pb2.Affinity, str]] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., idempotency_key: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("json", "payload", "tool_error", "call_id", "worker", "incarnation", "warnings")
    JSON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TOOL_ERROR_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    json: _struct_pb2.Value
    payload: _common_pb2.Payload
    tool_error: _common_pb2.ToolError
    call_id: str
    worker: str
    incarnation: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, json: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., payload: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., tool_error: _Optional[_Union[_common_pb2.ToolError, _Mapping]] = ..., call_id: _Optional[str] = ..., worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class ExecuteStreamRequest(_message.Message):
    __slots__ = ("pool", "tool", "json", "payload", "session_id", "affinity", "priority", "idempotency_key", "metadata", "progress")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    POOL_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    pool: str
    tool: str
    json: _struct_pb2.Struct
    payload: _common_pb2.Payload
    session_id: str
    affinity: _common_pb2.Affinity
    priority: _common_pb2.Priority
    idempotency_key: str
    metadata: _containers.ScalarMap[str, str]
    progress: bool
    def __init__(self, pool: _Optional[str] = ..., tool: _Optional[str] = ..., json: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., payload: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., session_id: _Optional[str] = ..., affinity: _Optional[_Union[_common_pb2.Affinity, str]] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., idempotency_key: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., progress: _Optional[bool] = ...) -> None: ...

class ExecuteStreamResponse(_message.Message):
    __slots__ = ("json", "payload", "tool_error", "call_id", "worker", "incarnation", "index", "last", "warnings", "progress")
    JSON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TOOL_ERROR_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    json: _struct_pb2.Value
    payload: _common_pb2.Payload
    tool_error: _common_pb2.ToolError
    call_id: str
    worker: str
    incarnation: str
    index: int
    last: bool
    warnings: _containers.RepeatedScalarFieldContainer[str]
    progress: StreamProgress
    def __init__(self, json: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., payload: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., tool_error: _Optional[_Union[_common_pb2.ToolError, _Mapping]] = ..., call_id: _Optional[str] = ..., worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., index: _Optional[int] = ..., last: _Optional[bool] = ..., warnings: _Optional[_Iterable[str]] = ..., progress: _Optional[_Union[StreamProgress, _Mapping]] = ...) -> None: ...

class StreamProgress(_message.Message):
    __slots__ = ("fraction", "message")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    fraction: float
    message: str
    def __init__(self, fraction: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...
