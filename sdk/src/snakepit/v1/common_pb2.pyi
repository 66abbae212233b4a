from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Affinity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AFFINITY_UNSPECIFIED: _ClassVar[Affinity]
    AFFINITY_HINT: _ClassVar[Affinity]
    AFFINITY_STRICT_QUEUE: _ClassVar[Affinity]
    AFFINITY_STRICT_FAIL_FAST: _ClassVar[Affinity]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_LOW: _ClassVar[Priority]

class Started(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STARTED_UNSPECIFIED: _ClassVar[Started]
    STARTED_NO: _ClassVar[Started]
    STARTED_MAYBE: _ClassVar[Started]
    STARTED_YES: _ClassVar[Started]

class Provider(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROVIDER_UNSPECIFIED: _ClassVar[Provider]
    PROVIDER_WORKER: _ClassVar[Provider]
    PROVIDER_CLIENT: _ClassVar[Provider]
AFFINITY_UNSPECIFIED: Affinity
AFFINITY_HINT: Affinity
AFFINITY_STRICT_QUEUE: Affinity
AFFINITY_STRICT_FAIL_FAST: Affinity
PRIORITY_UNSPECIFIED: Priority
PRIORITY_HIGH: Priority
PRIORITY_NORMAL: Priority
PRIORITY_LOW: Priority
STARTED_UNSPECIFIED: Started
STARTED_NO: Started
STARTED_MAYBE: Started
STARTED_YES: Started
PROVIDER_UNSPECIFIED: Provider
PROVIDER_WORKER: Provider
PROVIDER_CLIENT: Provider

class Payload(_message.Message):
    __slots__ = ("content_type", "data", "attachments", "warnings")
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    content_type: str
    data: bytes
    attachments: _containers.RepeatedCompositeFieldContainer[Attachment]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, content_type: _Optional[str] = ..., data: _Optional[bytes] = ..., attachments: _Optional[_Iterable[_Union[Attachment, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Attachment(_message.Message):
    __slots__ = ("content_type", "data", "dtype", "shape")
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    content_type: str
    data: bytes
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, content_type: _Optional[str] = ..., data: _Optional[bytes] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class ToolError(_message.Message):
    __slots__ = ("type", "message", "traceback")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("reason", "message", "started", "details", "retry_after_seconds")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    started: Started
    details: _containers.ScalarMap[str, str]
    retry_after_seconds: float
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., started: _Optional[_Union[Started, str]] = ..., details: _Optional[_Mapping[str, str]] = ..., retry_after_seconds: _Optional[float] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("json", "payload")
    JSON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    json: _struct_pb2.Value
    payload: Payload
    def __init__(self, json: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...

class Tool(_message.Message):
    __slots__ = ("name", "description", "input_schema", "output_schema", "streaming", "idempotent", "timeout_seconds", "provider", "session_id", "title", "read_only", "destructive")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    STREAMING_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    DESTRUCTIVE_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    input_schema: str
    output_schema: str
    streaming: bool
    idempotent: bool
    timeout_seconds: float
    provider: Provider
    session_id: str
    title: str
    read_only: bool
    destructive: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., input_schema: _Optional[str] = ..., output_schema: _Optional[str] = ..., streaming: _Optional[bool] = ..., idempotent: _Optional[bool] = ..., timeout_seconds: _Optional[float] = ..., provider: _Optional[_Union[Provider, str]] = ..., session_id: _Optional[str] = ..., title: _Optional[str] = ..., read_only: _Optional[bool] = ..., destructive: _Optional[bool] = ...) -> None: ...
