"""What the control plane says about pools, workers, tools, sessions and calls, as plain values. Pure.

Times are aware datetimes in UTC, durations seconds. As JSON their names are written as the CRD's: `readyWorkers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from snakepit._objectives import budget_left
from snakepit._telemetry.log_lines import LogLine, decode
from snakepit.v1 import access_pb2, call_pb2, common_pb2, pool_pb2, replica_pb2, session_pb2

T = TypeVar("T", bound=msgspec.Struct)


class ObjectiveInfo(msgspec.Struct, frozen=True, rename="camel"):
    """An objective of a pool's `slo`: availability or latency. `calls` that count, and the bad ones of them, of the last 30 days, or
    `since` replicas have counted. `budget_left_percent` of what the target allows; negative: it is missed; None: so few calls allow not
    one bad call.
    """

    name: str
    target_percent: float
    calls: int
    bad_calls: int
    budget_left_percent: int | None
    since: datetime


class PoolInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A pool as the control plane sees it now. `reason` and `message` say why it is, or is not, available. `objectives`: those of its
    `slo`, as the replica that was asked has counted; its `history` has them of all replicas.
    `sessions_mark`: 80 or 100, of so many percent of session.maxSessions that have been reached. `queue_limit`: queue.maxSize.
    """

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
    objectives: tuple[ObjectiveInfo, ...] = ()
    sessions_mark: int = 0
    queue_limit: int = 0

    @property
    def budget_left_percent(self) -> int | None:
        """Of the objective that has the least of its budget left. None: the pool has no objective, or too few calls to say."""
        return least_left(self.objectives)


class WorkerInfo(msgspec.Struct, frozen=True, rename="camel"):
    """One life of a worker. `state`: starting, ready, draining, backoff, stopped; `liveness`: live, suspect, lost.

    `own_bytes`: memory that it shares with no other process, 0 where it was not measured (see docs/workers.md). `taken`: in a pool with
    worker.exclusive, it belongs to a session. `traceback`: of what kept it, or its successor, from starting. `ended`: how the
    life before this one did. `node`: the machine that its capsule runs on, where that is known.
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
    ended: str = ""
    node: str = ""


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


class MoveInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Why an `epoch` of a session began, at `time`: `busy` (its worker was, and another one was not), `rebind` (somebody asked for it), or
    how its worker ended: crashed, oom, recycled, evicted, scaled down, lost. `worker`: that one."""

    epoch: int
    time: datetime
    reason: str
    worker: str


class SessionInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A session. `worker` is empty while it is bound to none; `epoch` grows by one at every rebind. `owner` made it; empty: nobody was
    asked who it is. `group`: whose it is instead, if it has one. `moves`: the latest times that the epoch grew, the last one first."""

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
    moves: list[MoveInfo] = []


class CallerInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Who the control plane takes a caller for; `subject` empty: it asks nobody. `expires`: the token or certificate; None: it doesn't."""

    subject: str
    groups: tuple[str, ...]
    expires: datetime | None


def caller_info(said: access_pb2.WhoAmIResponse) -> CallerInfo:
    """A caller as the wire has it, as a plain value."""
    return CallerInfo(said.subject, tuple(said.groups), said.expire_time.ToDatetime(UTC) if said.HasField("expire_time") else None)


class ReplicaInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A replica of the control plane, as it sees itself. `time` is its clock's; `store_message` says why its store can't be used, if so;
    `not_ready`, why new calls should go elsewhere. `operator_away_seconds` 0: an operator is linked. `store_seconds`: so long one in a
    hundred of the store's answers has taken, again and again in the last minute."""

    id: str
    version: str
    time: datetime
    store_ready: bool
    store_message: str
    not_ready: str
    operator_away_seconds: float
    store_seconds: float = 0.0


class ReplicaList(list[ReplicaInfo]):
    """Replicas; `missing` are the addresses of those that did not answer in time."""

    missing: tuple[str, ...] = ()


def replica_list(replies: Sequence[replica_pb2.GetReplicaResponse], missing: tuple[str, ...]) -> ReplicaList:
    """What the replicas have said, by their ids."""
    infos = (_plain(ReplicaInfo, reply, id=reply.replica, time=reply.time.ToDatetime(UTC)) for reply in replies)
    found = ReplicaList(sorted(infos, key=lambda each: each.id))
    found.missing = missing
    return found


class CallEvent(msgspec.Struct, frozen=True, rename="camel"):
    """`what`, so many seconds after the call came: queued, joined, bound, rebound, sent, sent ahead, recalled, rejected, rerun, answered.
    `detail`: a worker, an agent's word, or how it ended."""

    seconds: float
    what: str
    detail: str


class CallInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A call, at the `replica` that has taken it. `state`: queued, running, ended. `reason`: empty while it is open, then OK or what the
    table of errors has. `error_type`: with TOOL_ERROR the exception's class, with WORKER_LOST how the worker ended: oom, exit code 3,
    signal 11 …; `started`: whether its tool may have run.

    `run_seconds`: of the tool, or since it was sent. `tries`: how often it was sent to a worker. `bytes_in` and `bytes_out`: of its frame
    and its result's, without what streams. `depth`: in how many calls it is nested, the nearest one being `parent_call_id`. `events` only
    where one call is asked about.
    """

    id: str
    pool: str
    tool: str
    caller: str
    session_id: str
    state: str
    reason: str
    error_type: str
    started: str
    worker: str
    incarnation: str
    replica: str
    created: datetime
    queue_seconds: float
    run_seconds: float
    total_seconds: float
    tries: int
    bytes_in: int
    bytes_out: int
    priority: str
    depth: int
    parent_call_id: str
    trace_id: str
    events: list[CallEvent]


class CallList(list[CallInfo]):
    """Calls; `missing` are the addresses of replicas that did not say theirs in time."""

    missing: tuple[str, ...] = ()


class LogLines(list[LogLine]):
    """Lines of a log, as docs/logs.md has them; `problem`: why there are none, where that is not because nothing was said."""

    problem: str = ""


def log_lines(said: pool_pb2.ListLogLinesResponse) -> LogLines:
    """Lines as the wire has them, as plain values; what can't be read is left out."""
    found = LogLines(line for text in said.lines if (line := decode(text)) is not None)
    found.problem = said.problem
    return found


def pool_info(pool: pool_pb2.Pool) -> PoolInfo:
    """A pool as the wire has it, as a plain value."""
    return _plain(PoolInfo, pool, objectives=objective_infos(pool.objectives))


def objective_infos(said: Iterable[pool_pb2.Objective]) -> tuple[ObjectiveInfo, ...]:
    """One of each name: replicas have counted a part of the calls each."""
    together: dict[str, list[pool_pb2.Objective]] = {}
    for each in said:
        together.setdefault(each.name, []).append(each)
    return tuple(_objective_info(each) for each in together.values())


def _objective_info(said: Sequence[pool_pb2.Objective]) -> ObjectiveInfo:
    target, calls, bad = said[0].target_percent, sum(each.calls for each in said), sum(each.bad_calls for each in said)
    since = min(each.since.ToDatetime(UTC) for each in said)
    return ObjectiveInfo(said[0].name, target, calls, bad, budget_left(target, calls, bad), since)


def least_left(objectives: Iterable[ObjectiveInfo]) -> int | None:
    """Percent, of the budget that has the least left; None: nothing can be said of any."""
    return min((each.budget_left_percent for each in objectives if each.budget_left_percent is not None), default=None)


def worker_info(worker: pool_pb2.Worker) -> WorkerInfo:
    """A worker as the wire has it, as a plain value."""
    state, liveness = pool_pb2.WorkerState.Name(worker.state), pool_pb2.Liveness.Name(worker.liveness)
    return _plain(WorkerInfo, worker, state=_word(state, "WORKER_STATE_"), liveness=_word(liveness, "LIVENESS_"))


def tool_info(tool: common_pb2.Tool) -> ToolInfo:
    """A tool as the wire has it, as a plain value."""
    schemas = {"input_schema": parsed(tool.input_schema), "output_schema": parsed(tool.output_schema)}
    destructive = tool.destructive if tool.HasField("destructive") else None
    provider = _word(common_pb2.Provider.Name(tool.provider), "PROVIDER_")
    return _plain(ToolInfo, tool, provider=provider, destructive=destructive, **schemas)


def session_info(session: session_pb2.Session) -> SessionInfo:
    """A session as the wire has it, as a plain value."""
    created, last_used = session.create_time.ToDatetime(UTC), session.last_use_time.ToDatetime(UTC)
    times = {"created": created, "last_used": last_used, "expires": session.expire_time.ToDatetime(UTC)}
    moves = [_plain(MoveInfo, each, time=each.time.ToDatetime(UTC)) for each in session.moves]
    return _plain(SessionInfo, session, metadata=dict(session.metadata), moves=moves, **times)


def call_info(call: call_pb2.CallInfo) -> CallInfo:
    """A call as the wire has it, as a plain value."""
    words = {
        "state": _word(call_pb2.CallState.Name(call.state), "CALL_STATE_"),
        "started": _word(common_pb2.Started.Name(call.started), "STARTED_"),
        "priority": _word(common_pb2.Priority.Name(call.priority), "PRIORITY_"),
    }
    events = [_plain(CallEvent, event) for event in call.events]
    return _plain(CallInfo, call, created=call.create_time.ToDatetime(UTC), events=events, **words)


def call_list(replies: Sequence[call_pb2.ListCallsResponse], limit: int, missing: tuple[str, ...]) -> CallList:
    """What the replicas have said, as one list, the newest first."""
    calls = sorted((call for reply in replies for call in reply.calls), key=lambda call: call.create_time.ToNanoseconds(), reverse=True)
    found = CallList(call_info(call) for call in calls[:limit])
    found.missing = missing
    return found


def _plain(kind: type[T], message: Any, **changed: Any) -> T:
    """The fields are the message's of the same names, but for these."""
    return kind(**{name: getattr(message, name) for name in kind.__struct_fields__ if name not in changed}, **changed)


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def parsed(text: str) -> dict[str, Any]:
    """A JSON object; an empty one where nothing is said."""
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
