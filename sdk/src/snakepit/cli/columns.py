"""The columns of each table. Pure: ages count from `now`."""

from __future__ import annotations

from datetime import datetime

from snakepit.cli.table import Column, age, size
from snakepit.client.views import SessionInfo, ToolInfo, WorkerInfo

POOLS = (
    Column("NAME", lambda pool: pool.name, 0),
    Column("AVAILABLE", lambda pool: pool.available, 0),
    Column("CAPSULES", lambda pool: f"{pool.live_capsules}/{pool.desired_capsules}", 2),
    Column("WORKERS", lambda pool: pool.ready_workers, 1),
    Column("BUSY", lambda pool: f"{pool.busy_slots}/{pool.total_slots}", 1),
    Column("QUEUE", lambda pool: pool.queue_depth, 3),
    Column("SESSIONS", lambda pool: pool.sessions, 4),
    Column("GENERATION", lambda pool: pool.generation, 6, wide=True),
    Column("REASON", lambda pool: pool.reason, 5),
    Column("MESSAGE", lambda pool: pool.message, 6, wide=True),
)


def _state(worker: WorkerInfo) -> str:
    return worker.state if worker.liveness == "live" else f"{worker.state},{worker.liveness}"


WORKERS = (
    Column("ID", lambda worker: worker.id, 0),
    Column("STATE", _state, 0),
    Column("BUSY", lambda worker: f"{worker.running}/{worker.slots}", 2),
    Column("SERVED", lambda worker: worker.served, 5),
    Column("RESTARTS", lambda worker: worker.restarts, 3),
    Column("AGE", lambda worker: age(worker.age_seconds), 1),
    Column("MEMORY", lambda worker: size(worker.rss_bytes), 6, wide=True),
    Column("LONGEST", lambda worker: age(worker.oldest_running_seconds), 6, wide=True),
    Column("PID", lambda worker: worker.pid, 6, wide=True),
    Column("PYTHON", lambda worker: worker.python, 6, wide=True),
    Column("INCARNATION", lambda worker: worker.incarnation, 6, wide=True),
    Column("REASON", lambda worker: worker.reason, 3),
    Column("MESSAGE", lambda worker: worker.message, 4),
)


def _arguments(tool: ToolInfo) -> str:
    required = tool.input_schema.get("required", [])
    return ",".join(name if name in required else f"{name}?" for name in tool.input_schema.get("properties", {}))


TOOLS = (
    Column("NAME", lambda tool: tool.name, 0),
    Column("ARGUMENTS", _arguments, 1),
    Column("STREAMS", lambda tool: tool.streaming, 3),
    Column("IDEMPOTENT", lambda tool: tool.idempotent, 6, wide=True),
    Column("TIMEOUT", lambda tool: f"{tool.timeout_seconds:g}s" if tool.timeout_seconds else "", 6, wide=True),
    Column("PROVIDER", lambda tool: tool.provider, 4),
    Column("SESSION", lambda tool: tool.session_id, 6, wide=True),
    Column("DESCRIPTION", lambda tool: tool.description.partition("\n")[0], 2),
)


def sessions(now: datetime) -> tuple[Column, ...]:
    def since(moment: datetime) -> str:
        return age((now - moment).total_seconds())

    def until(session: SessionInfo) -> str:
        return age((session.expires - now).total_seconds())

    return (
        Column("ID", lambda session: session.id, 0),
        Column("WORKER", lambda session: session.worker, 1),
        Column("EPOCH", lambda session: session.epoch, 5),
        Column("AGE", lambda session: since(session.created), 2),
        Column("UNUSED", lambda session: since(session.last_used), 4),
        Column("EXPIRES", until, 3),
        Column("TTL", lambda session: age(session.ttl_seconds), 6, wide=True),
        Column("INCARNATION", lambda session: session.incarnation, 6, wide=True),
        Column("METADATA", lambda session: ",".join(f"{key}={value}" for key, value in sorted(session.metadata.items())), 6, wide=True),
    )
