"""What the control plane says about pools, workers, tools and sessions, as plain values. Pure.

Times are aware datetimes in UTC, durations seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from snakepit.v1 import common_pb2, pool_pb2, session_pb2


class PoolInfo(msgspec.Struct, frozen=True):
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


class WorkerInfo(msgspec.Struct, frozen=True):
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


class ToolInfo(msgspec.Struct, frozen=True):
    """A tool in the catalogue; the schemas are JSON Schema. `timeout_seconds` 0: the pool's.

    `provider`: worker, or client (then the pool's workers may call it; `session_id`: only in that session).
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


class SessionInfo(msgspec.Struct, frozen=True):
    """A session. `worker` is empty while it is bound to none; `epoch` grows by one at every rebind."""

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


def pool_info(pool: pool_pb2.Pool) -> PoolInfo:
    """A pool as the wire has it, as a plain value."""
    return PoolInfo(**{field: getattr(pool, field) for field in PoolInfo.__struct_fields__})


def worker_info(worker: pool_pb2.Worker) -> WorkerInfo:
    """A worker as the wire has it, as a plain value."""
    plain = {field: getattr(worker, field) for field in WorkerInfo.__struct_fields__}
    plain["state"] = _word(pool_pb2.WorkerState.Name(worker.state), "WORKER_STATE_")
    plain["liveness"] = _word(pool_pb2.Liveness.Name(worker.liveness), "LIVENESS_")
    return WorkerInfo(**plain)


def tool_info(tool: common_pb2.Tool) -> ToolInfo:
    """A tool as the wire has it, as a plain value."""
    plain = {field: getattr(tool, field) for field in ToolInfo.__struct_fields__}
    plain["input_schema"] = _schema(tool.input_schema)
    plain["output_schema"] = _schema(tool.output_schema)
    plain["provider"] = _word(common_pb2.Provider.Name(tool.provider), "PROVIDER_")
    return ToolInfo(**plain)


def session_info(session: session_pb2.Session) -> SessionInfo:
    """A session as the wire has it, as a plain value."""
    return SessionInfo(
        id=session.id,
        pool=session.pool,
        uid=session.uid,
        metadata=dict(session.metadata),
        created=session.create_time.ToDatetime(UTC),
        last_used=session.last_use_time.ToDatetime(UTC),
        expires=session.expire_time.ToDatetime(UTC),
        ttl_seconds=session.ttl_seconds,
        worker=session.worker,
        incarnation=session.incarnation,
        epoch=session.epoch,
    )


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _schema(text: str) -> dict[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
