import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetReplicaRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetReplicaResponse(_message.Message):
    __slots__ = ("replica", "version", "time", "store_ready", "store_message", "not_ready", "operator_away_seconds", "store_seconds")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STORE_READY_FIELD_NUMBER: _ClassVar[int]
    STORE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NOT_READY_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_AWAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STORE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    replica: str
    version: str
    time: _timestamp_pb2.Timestamp
    store_ready: bool
    store_message: str
    not_ready: str
    operator_away_seconds: float
    store_seconds: float
    def __init__(self, replica: _Optional[str] = ..., version: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., store_ready: _Optional[bool] = ..., store_message: _Optional[str] = ..., not_ready: _Optional[str] = ..., operator_away_seconds: _Optional[float] = ..., store_seconds: _Optional[float] = ...) -> None: ...
