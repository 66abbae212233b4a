from snakepit.v1 import common_pb2 as _common_pb2
from snakepit.v1 import pool_pb2 as _pool_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_CLIENT: _ClassVar[Role]
    ROLE_AGENT: _ClassVar[Role]

class Turn(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TURN_UNSPECIFIED: _ClassVar[Turn]
    TURN_WAIT: _ClassVar[Turn]
    TURN_NOW: _ClassVar[Turn]
    TURN_WITHIN_PARENT: _ClassVar[Turn]
ROLE_UNSPECIFIED: Role
ROLE_CLIENT: Role
ROLE_AGENT: Role
TURN_UNSPECIFIED: Turn
TURN_WAIT: Turn
TURN_NOW: Turn
TURN_WITHIN_PARENT: Turn

class Pieces(_message.Message):
    __slots__ = ("sections",)
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    sections: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, sections: _Optional[_Iterable[int]] = ...) -> None: ...

class LinkRequest(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class LinkResponse(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("hello", "welcome", "call", "result", "cancel", "reject", "report", "load", "offer", "state_request", "state_reply", "drain", "go_away", "recall", "progress", "session_end", "nested_call", "offer_reply", "flow", "session_release", "session_released", "ping", "pong", "settings", "credentials", "log_lines_request", "log_lines_reply", "replica_status")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    STATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    STATE_REPLY_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SESSION_END_FIELD_NUMBER: _ClassVar[int]
    NESTED_CALL_FIELD_NUMBER: _ClassVar[int]
    OFFER_REPLY_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    SESSION_RELEASE_FIELD_NUMBER: _ClassVar[int]
    SESSION_RELEASED_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    LOG_LINES_REQUEST_FIELD_NUMBER: _ClassVar[int]
    LOG_LINES_REPLY_FIELD_NUMBER: _ClassVar[int]
    REPLICA_STATUS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    welcome: Welcome
    call: Call
    result: Result
    cancel: Cancel
    reject: Reject
    report: Report
    load: Load
    offer: Offer
    state_request: StateRequest
    state_reply: StateReply
    drain: Drain
    go_away: GoAway
    recall: Recall
    progress: Progress
    session_end: SessionEnd
    nested_call: NestedCall
    offer_reply: OfferReply
    flow: Flow
    session_release: SessionRelease
    session_released: SessionReleased
    ping: Ping
    pong: Pong
    settings: PoolSettings
    credentials: Credentials
    log_lines_request: LogLinesRequest
    log_lines_reply: LogLinesReply
    replica_status: ReplicaStatus
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., reject: _Optional[_Union[Reject, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., offer: _Optional[_Union[Offer, _Mapping]] = ..., state_request: _Optional[_Union[StateRequest, _Mapping]] = ..., state_reply: _Optional[_Union[StateReply, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., go_away: _Optional[_Union[GoAway, _Mapping]] = ..., recall: _Optional[_Union[Recall, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., session_end: _Optional[_Union[SessionEnd, _Mapping]] = ..., nested_call: _Optional[_Union[NestedCall, _Mapping]] = ..., offer_reply: _Optional[_Union[OfferReply, _Mapping]] = ..., flow: _Optional[_Union[Flow, _Mapping]] = ..., session_release: _Optional[_Union[SessionRelease, _Mapping]] = ..., session_released: _Optional[_Union[SessionReleased, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., settings: _Optional[_Union[PoolSettings, _Mapping]] = ..., credentials: _Optional[_Union[Credentials, _Mapping]] = ..., log_lines_request: _Optional[_Union[LogLinesRequest, _Mapping]] = ..., log_lines_reply: _Optional[_Union[LogLinesReply, _Mapping]] = ..., replica_status: _Optional[_Union[ReplicaStatus, _Mapping]] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("token", "seconds")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    token: str
    seconds: float
    def __init__(self, token: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Pong(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "role", "version", "capsule", "running", "newest_protocol")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPSULE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    NEWEST_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    role: Role
    version: str
    capsule: Capsule
    running: _containers.RepeatedScalarFieldContainer[int]
    newest_protocol: int
    def __init__(self, protocol: _Optional[int] = ..., role: _Optional[_Union[Role, str]] = ..., version: _Optional[str] = ..., capsule: _Optional[_Union[Capsule, _Mapping]] = ..., running: _Optional[_Iterable[int]] = ..., newest_protocol: _Optional[int] = ...) -> None: ...

class Capsule(_message.Message):
    __slots__ = ("name", "incarnation", "pool", "pod_uid", "settings", "node", "tells_log_lines")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    POD_UID_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TELLS_LOG_LINES_FIELD_NUMBER: _ClassVar[int]
    name: str
    incarnation: str
    pool: str
    pod_uid: str
    settings: PoolSettings
    node: str
    tells_log_lines: bool
    def __init__(self, name: _Optional[str] = ..., incarnation: _Optional[str] = ..., pool: _Optional[str] = ..., pod_uid: _Optional[str] = ..., settings: _Optional[_Union[PoolSettings, _Mapping]] = ..., node: _Optional[str] = ..., tells_log_lines: _Optional[bool] = ...) -> None: ...

class PoolSettings(_message.Message):
    __slots__ = ("pool", "uid", "generation", "spec", "deleted")
    POOL_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    pool: str
    uid: str
    generation: int
    spec: str
    deleted: bool
    def __init__(self, pool: _Optional[str] = ..., uid: _Optional[str] = ..., generation: _Optional[int] = ..., spec: _Optional[str] = ..., deleted: _Optional[bool] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "replica", "max_payload_bytes", "version", "max_large_payload_bytes", "lane")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MAX_LARGE_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    replica: str
    max_payload_bytes: int
    version: str
    max_large_payload_bytes: int
    lane: Lane
    def __init__(self, protocol: _Optional[int] = ..., replica: _Optional[str] = ..., max_payload_bytes: _Optional[int] = ..., version: _Optional[str] = ..., max_large_payload_bytes: _Optional[int] = ..., lane: _Optional[_Union[Lane, _Mapping]] = ...) -> None: ...

class Lane(_message.Message):
    __slots__ = ("host", "port", "ticket", "bulk_ticket")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    BULK_TICKET_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    ticket: bytes
    bulk_ticket: bytes
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., ticket: _Optional[bytes] = ..., bulk_ticket: _Optional[bytes] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "call_id", "pool", "tool", "arguments", "session_id", "affinity", "priority", "idempotency_key", "metadata", "timeout_seconds", "traceparent", "stream", "accept", "parent_call_id", "depth", "pieces", "arguments_digest", "worker", "incarnation", "session_uid", "session_epoch", "turn", "progress", "ahead", "caller", "identity")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FIELD_NUMBER: _ClassVar[int]
    PARENT_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SESSION_UID_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    id: int
    call_id: str
    pool: str
    tool: str
    arguments: _common_pb2.Payload
    session_id: str
    affinity: _common_pb2.Affinity
    priority: _common_pb2.Priority
    idempotency_key: str
    metadata: _containers.ScalarMap[str, str]
    timeout_seconds: float
    traceparent: str
    stream: bool
    accept: str
    parent_call_id: str
    depth: int
    pieces: Pieces
    arguments_digest: bytes
    worker: str
    incarnation: str
    session_uid: str
    session_epoch: int
    turn: Turn
    progress: bool
    ahead: bool
    caller: Caller
    identity: bytes
    def __init__(self, id: _Optional[int] = ..., call_id: _Optional[str] = ..., pool: _Optional[str] = ..., tool: _Optional[str] = ..., arguments: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., session_id: _Optional[str] = ..., affinity: _Optional[_Union[_common_pb2.Affinity, str]] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., idempotency_key: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., timeout_seconds: _Optional[float] = ..., traceparent: _Optional[str] = ..., stream: _Optional[bool] = ..., accept: _Optional[str] = ..., parent_call_id: _Optional[str] = ..., depth: _Optional[int] = ..., pieces: _Optional[_Union[Pieces, _Mapping]] = ..., arguments_digest: _Optional[bytes] = ..., worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., session_uid: _Optional[str] = ..., session_epoch: _Optional[int] = ..., turn: _Optional[_Union[Turn, str]] = ..., progress: _Optional[bool] = ..., ahead: _Optional[bool] = ..., caller: _Optional[_Union[Caller, _Mapping]] = ..., identity: _Optional[bytes] = ...) -> None: ...

class Caller(_message.Message):
    __slots__ = ("subject", "groups", "token")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    subject: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    token: str
    def __init__(self, subject: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., token: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "payload", "tool_error", "error", "worker", "incarnation", "run_seconds", "call_id", "pieces")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TOOL_ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    RUN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    id: int
    payload: _common_pb2.Payload
    tool_error: _common_pb2.ToolError
    error: _common_pb2.Error
    worker: str
    incarnation: str
    run_seconds: float
    call_id: str
    pieces: Pieces
    def __init__(self, id: _Optional[int] = ..., payload: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., tool_error: _Optional[_Union[_common_pb2.ToolError, _Mapping]] = ..., error: _Optional[_Union[_common_pb2.Error, _Mapping]] = ..., worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., run_seconds: _Optional[float] = ..., call_id: _Optional[str] = ..., pieces: _Optional[_Union[Pieces, _Mapping]] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: int
    reason: str
    def __init__(self, id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: int
    reason: str
    def __init__(self, id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Recall(_message.Message):
    __slots__ = ("id", "others")
    ID_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    others: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[int] = ..., others: _Optional[_Iterable[int]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("sequence", "workers", "draining", "rss_bytes", "leaving", "recycled", "told_to_drain")
    class RecycledEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    RECYCLED_FIELD_NUMBER: _ClassVar[int]
    TOLD_TO_DRAIN_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    workers: _containers.RepeatedCompositeFieldContainer[_pool_pb2.Worker]
    draining: bool
    rss_bytes: int
    leaving: _containers.RepeatedCompositeFieldContainer[_pool_pb2.Worker]
    recycled: _containers.ScalarMap[str, int]
    told_to_drain: bool
    def __init__(self, sequence: _Optional[int] = ..., workers: _Optional[_Iterable[_Union[_pool_pb2.Worker, _Mapping]]] = ..., draining: _Optional[bool] = ..., rss_bytes: _Optional[int] = ..., leaving: _Optional[_Iterable[_Union[_pool_pb2.Worker, _Mapping]]] = ..., recycled: _Optional[_Mapping[str, int]] = ..., told_to_drain: _Optional[bool] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("workers",)
    class WorkerLoad(_message.Message):
        __slots__ = ("worker", "incarnation", "elsewhere")
        WORKER_FIELD_NUMBER: _ClassVar[int]
        INCARNATION_FIELD_NUMBER: _ClassVar[int]
        ELSEWHERE_FIELD_NUMBER: _ClassVar[int]
        worker: str
        incarnation: str
        elsewhere: int
        def __init__(self, worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., elsewhere: _Optional[int] = ...) -> None: ...
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[Load.WorkerLoad]
    def __init__(self, workers: _Optional[_Iterable[_Union[Load.WorkerLoad, _Mapping]]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("tools", "description", "id", "provider", "pool", "session_id")
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    tools: _containers.RepeatedCompositeFieldContainer[_common_pb2.Tool]
    description: str
    id: int
    provider: str
    pool: str
    session_id: str
    def __init__(self, tools: _Optional[_Iterable[_Union[_common_pb2.Tool, _Mapping]]] = ..., description: _Optional[str] = ..., id: _Optional[int] = ..., provider: _Optional[str] = ..., pool: _Optional[str] = ..., session_id: _Optional[str] = ...) -> None: ...

class OfferReply(_message.Message):
    __slots__ = ("id", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    error: _common_pb2.Error
    def __init__(self, id: _Optional[int] = ..., error: _Optional[_Union[_common_pb2.Error, _Mapping]] = ...) -> None: ...

class NestedCall(_message.Message):
    __slots__ = ("parent", "call")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    parent: int
    call: Call
    def __init__(self, parent: _Optional[int] = ..., call: _Optional[_Union[Call, _Mapping]] = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("id", "chunk", "taken")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    id: int
    chunk: _common_pb2.Payload
    taken: int
    def __init__(self, id: _Optional[int] = ..., chunk: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., taken: _Optional[int] = ...) -> None: ...

class StateRequest(_message.Message):
    __slots__ = ("id", "pool", "session_id", "session_uid", "session_epoch", "get", "set", "delete", "keys", "timeout_seconds", "traceparent", "tracestate")
    class Get(_message.Message):
        __slots__ = ("key",)
        KEY_FIELD_NUMBER: _ClassVar[int]
        key: str
        def __init__(self, key: _Optional[str] = ...) -> None: ...
    class Set(_message.Message):
        __slots__ = ("key", "value", "expected_version")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.Payload
        expected_version: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., expected_version: _Optional[int] = ...) -> None: ...
    class Delete(_message.Message):
        __slots__ = ("key",)
        KEY_FIELD_NUMBER: _ClassVar[int]
        key: str
        def __init__(self, key: _Optional[str] = ...) -> None: ...
    class Keys(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_UID_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    id: int
    pool: str
    session_id: str
    session_uid: str
    session_epoch: int
    get: StateRequest.Get
    set: StateRequest.Set
    delete: StateRequest.Delete
    keys: StateRequest.Keys
    timeout_seconds: float
    traceparent: str
    tracestate: str
    def __init__(self, id: _Optional[int] = ..., pool: _Optional[str] = ..., session_id: _Optional[str] = ..., session_uid: _Optional[str] = ..., session_epoch: _Optional[int] = ..., get: _Optional[_Union[StateRequest.Get, _Mapping]] = ..., set: _Optional[_Union[StateRequest.Set, _Mapping]] = ..., delete: _Optional[_Union[StateRequest.Delete, _Mapping]] = ..., keys: _Optional[_Union[StateRequest.Keys, _Mapping]] = ..., timeout_seconds: _Optional[float] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class StateReply(_message.Message):
    __slots__ = ("id", "error", "found", "value", "version", "written", "keys")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    id: int
    error: _common_pb2.Error
    found: bool
    value: _common_pb2.Payload
    version: int
    written: bool
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[int] = ..., error: _Optional[_Union[_common_pb2.Error, _Mapping]] = ..., found: _Optional[bool] = ..., value: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., version: _Optional[int] = ..., written: _Optional[bool] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("id", "fraction", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: int
    fraction: float
    message: str
    def __init__(self, id: _Optional[int] = ..., fraction: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class SessionEnd(_message.Message):
    __slots__ = ("session_id", "session_uid", "worker", "incarnation", "session_epoch")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_UID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    session_uid: str
    worker: str
    incarnation: str
    session_epoch: int
    def __init__(self, session_id: _Optional[str] = ..., session_uid: _Optional[str] = ..., worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., session_epoch: _Optional[int] = ...) -> None: ...

class SessionRelease(_message.Message):
    __slots__ = ("session_id", "session_uid", "session_epoch", "worker", "incarnation", "wait", "force", "look")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_UID_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    LOOK_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    session_uid: str
    session_epoch: int
    worker: str
    incarnation: str
    wait: bool
    force: bool
    look: bool
    def __init__(self, session_id: _Optional[str] = ..., session_uid: _Optional[str] = ..., session_epoch: _Optional[int] = ..., worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., wait: _Optional[bool] = ..., force: _Optional[bool] = ..., look: _Optional[bool] = ...) -> None: ...

class SessionReleased(_message.Message):
    __slots__ = ("session_uid", "session_epoch", "released", "look")
    SESSION_UID_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    LOOK_FIELD_NUMBER: _ClassVar[int]
    session_uid: str
    session_epoch: int
    released: bool
    look: bool
    def __init__(self, session_uid: _Optional[str] = ..., session_epoch: _Optional[int] = ..., released: _Optional[bool] = ..., look: _Optional[bool] = ...) -> None: ...

class LogLinesRequest(_message.Message):
    __slots__ = ("id", "worker", "call_id", "limit")
    ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    id: int
    worker: str
    call_id: str
    limit: int
    def __init__(self, id: _Optional[int] = ..., worker: _Optional[str] = ..., call_id: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class LogLinesReply(_message.Message):
    __slots__ = ("id", "lines", "problem")
    ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    id: int
    lines: _containers.RepeatedScalarFieldContainer[str]
    problem: str
    def __init__(self, id: _Optional[int] = ..., lines: _Optional[_Iterable[str]] = ..., problem: _Optional[str] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("worker", "incarnation", "recycle")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    RECYCLE_FIELD_NUMBER: _ClassVar[int]
    worker: str
    incarnation: str
    recycle: bool
    def __init__(self, worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., recycle: _Optional[bool] = ...) -> None: ...

class ReplicaStatus(_message.Message):
    __slots__ = ("store_unavailable",)
    STORE_UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    store_unavailable: bool
    def __init__(self, store_unavailable: _Optional[bool] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("last_call",)
    LAST_CALL_FIELD_NUMBER: _ClassVar[int]
    last_call: int
    def __init__(self, last_call: _Optional[int] = ...) -> None: ...

class FromAgent(_message.Message):
    __slots__ = ("id", "chunks", "wants_arguments")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    WANTS_ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    chunks: _containers.RepeatedCompositeFieldContainer[Chunk]
    wants_arguments: bool
    def __init__(self, id: _Optional[int] = ..., chunks: _Optional[_Iterable[_Union[Chunk, _Mapping]]] = ..., wants_arguments: _Optional[bool] = ...) -> None: ...

class ToAgent(_message.Message):
    __slots__ = ("taken",)
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    taken: int
    def __init__(self, taken: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("index", "payload", "tool_error", "error", "last", "pieces")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TOOL_ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    index: int
    payload: _common_pb2.Payload
    tool_error: _common_pb2.ToolError
    error: _common_pb2.Error
    last: bool
    pieces: Pieces
    def __init__(self, index: _Optional[int] = ..., payload: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., tool_error: _Optional[_Union[_common_pb2.ToolError, _Mapping]] = ..., error: _Optional[_Union[_common_pb2.Error, _Mapping]] = ..., last: _Optional[bool] = ..., pieces: _Optional[_Union[Pieces, _Mapping]] = ...) -> None: ...

class FromClient(_message.Message):
    __slots__ = ("call", "fetch", "sending")
    CALL_FIELD_NUMBER: _ClassVar[int]
    FETCH_FIELD_NUMBER: _ClassVar[int]
    SENDING_FIELD_NUMBER: _ClassVar[int]
    call: Call
    fetch: str
    sending: int
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., fetch: _Optional[str] = ..., sending: _Optional[int] = ...) -> None: ...

class ToClient(_message.Message):
    __slots__ = ("wanted", "result", "chunks", "progress")
    WANTED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    wanted: int
    result: Result
    chunks: _containers.RepeatedCompositeFieldContainer[Chunk]
    progress: Progress
    def __init__(self, wanted: _Optional[int] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., chunks: _Optional[_Iterable[_Union[Chunk, _Mapping]]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ...) -> None: ...
