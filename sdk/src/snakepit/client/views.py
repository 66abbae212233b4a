"""What the control plane says about pools, workers, tools and sessions, as plain values. Pure.

Times are aware datetimes in UTC, durations seconds. As JSON their names are written as the CRD's: `readyWorkers`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from snakepit.v1 import access_pb2, common_pb2, pool_pb2, session_pb2

T = TypeVar("T", bound=msgspec.Struct)


class PoolInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A pool as the control plane sees it now. `reason` and `message` say why it is, or is not, available."""

    name: str
    available: bool
    reason: str
    message: str
    desired_capsules: int
    live_capsules: int
    ready_workers: int
    busy_slots: int
    total_slots: int
    queue_depth: int
    sessions: int
    generation: int


class WorkerInfo(msgspec.Struct, frozen=True, rename="camel"):
    """One life of a worker. `state`: starting, ready, draining, backoff, stopped; `liveness`: live, suspect, lost.

    `own_bytes`: memory that it shares with no other process, 0 where it was not measured (see docs/workers.md). `taken`: in a pool with
    worker.exclusive, it belongs to a session. `traceback`: of what kept it, or its successor, from starting.
    """

    id: str
    incarnation: str
    state: str
    liveness: str
    slots: int
    running: int
    served: int
    restarts: int
    rss_bytes: int
    setup_seconds: float
    oldest_running_seconds: float
    age_seconds: float
    reason: str
    message: str
    pid: int
    own_bytes: int = 0
    taken: bool = False
    traceback: str = ""
    python: str = ""


class ToolInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A tool in the catalogue; the schemas are JSON Schema. `timeout_seconds` 0: the pool's.

    `provider`: worker, or client (then the pool's workers may call it; `session_id`: only in that session). `title`, `read_only` and
    `destructive` are what its author says of it (docs/author.md); `destructive` None: nothing was said.
    """

    name: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    streaming: bool
    idempotent: bool
    timeout_seconds: float
    provider: str = "worker"
    session_id: str = ""
    title: str = ""
    read_only: bool = False
    destructive: bool | None = None


class SessionInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A session. `worker` is empty while it is bound to none; `epoch` grows by one at every rebind. `owner` made it; empty: nobody was
    asked who it is. `group`: whose it is instead, if it has one."""

    id: str
    pool: str
    uid: str
    metadata: dict[str, str]
    created: datetime
    last_used: datetime
    expires: datetime
    ttl_seconds: float
    worker: str
    incarnation: str
    epoch: int
    owner: str
    group: str


class CallerInfo(msgspec.Struct, frozen=True):
    """Who the control plane takes a caller for; `subject` empty: it asks nobody. `expires`: the token or certificate; None: it doesn't."""

    subject: str
    groups: tuple[str, ...]
    expires: datetime | None


def caller_info(said: access_pb2.WhoAmIResponse) -> CallerInfo:
    """A caller as the wire has it, as a plain value."""
    return CallerInfo(said.subject, tuple(said.groups), said.expire_time.ToDatetime(UTC) if said.HasField("expire_time") else None)


def pool_info(pool: pool_pb2.Pool) -> PoolInfo:
    """A pool as the wire has it, as a plain value."""
    return _plain(PoolInfo, pool)


def worker_info(worker: pool_pb2.Worker) -> WorkerInfo:
    """A worker as the wire has it, as a plain value."""
    state, liveness = pool_pb2.WorkerState.Name(worker.state), pool_pb2.Liveness.Name(worker.liveness)
    return _plain(WorkerInfo, worker, state=_word(state, "WORKER_STATE_"), liveness=_word(liveness, "LIVENESS_"))


def tool_info(tool: common_pb2.Tool) -> ToolInfo:
    """A tool as the wire has it, as a plain value."""
    schemas = {"input_schema": _schema(tool.input_schema), "output_schema": _schema(tool.output_schema)}
    destructive = tool.destructive if tool.HasField("destructive") else None
    provider = _word(common_pb2.Provider.Name(tool.provider), "PROVIDER_")
    return _plain(ToolInfo, tool, provider=provider, destructive=destructive, **schemas)


def session_info(session: session_pb2.Session) -> SessionInfo:
    """A session as the wire has it, as a plain value."""
    created, last_used = session.create_time.ToDatetime(UTC), session.last_use_time.ToDatetime(UTC)
    times = {"created": created, "last_used": last_used, "expires": session.expire_time.ToDatetime(UTC)}
    return _plain(SessionInfo, session, metadata=dict(session.metadata), **times)


def _plain(kind: type[T], message: Any, **changed: Any) -> T:
    """The fields are the message's of the same names, but for these."""
    return kind(**{name: getattr(message, name) for name in kind.__struct_fields__ if name not in changed}, **changed)


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _schema(text: str) -> dict[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
