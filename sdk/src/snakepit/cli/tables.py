"""Tables for people: the columns of each, in whole lines that are never folded. Pure: ages count from `now`.

What a terminal has no room for is left out, the least wanted column first, and the last column is cut; in a pipe everything is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.cells import cell_len, set_cell_size

from snakepit.client.views import CallerInfo, CallInfo, ToolInfo, WorkerInfo

GAP = "   "
NOTHING = "-"
"""An empty cell: programs that split lines into words still find every column."""

_LEAST_TEXT = 16
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Column(msgspec.Struct, frozen=True):
    """One column. The higher its `rank`, the sooner it gives way on a narrow terminal; 0 never does. `wide`: only with `-o wide`."""

    title: str
    cell: Callable[[Any], object]
    rank: int = 1
    wide: bool = False


def lines(columns: Sequence[Column], rows: Sequence[Any], *, width: int | None) -> list[str]:
    """Lay out a header and a line for each row, none longer than `width`; without it they are as long as they are."""
    cells = [[each.title, *(_text(each.cell(row)) for row in rows)] for each in columns]
    widths = [max(map(cell_len, column)) for column in cells]
    kept = list(range(len(columns)))
    if width is not None:
        kept = _fitting(columns, widths, width)
        last = kept[-1]
        widths[last] = max(1, min(widths[last], width - sum(widths[i] + len(GAP) for i in kept[:-1])))
    return [_line([(_fit(cells[i][row], widths[i]), widths[i]) for i in kept]) for row in range(len(rows) + 1)]


def age(seconds: float) -> str:
    """Write an age as kubectl does: 19s, 3m, 2h, 4d, 1y."""
    whole = max(0, int(seconds))
    for size, unit in ((365 * _DAY, "y"), (_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def size(count: int) -> str:
    """Write bytes as Kubernetes does: 512Ki, 38Mi."""
    for unit, most in (("", 1024), ("Ki", 1024), ("Mi", 10 * 1024)):
        if count < most:
            return f"{count}{unit}"
        count //= 1024
    return f"{count}Gi"


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Choose the columns that there is room for, if the last of them may be cut."""
    kept = list(range(len(columns)))
    while len(kept) > 1:
        least = [*(widths[i] for i in kept[:-1]), min(widths[kept[-1]], max(_LEAST_TEXT, cell_len(columns[kept[-1]].title)))]
        if sum(least) + len(GAP) * (len(kept) - 1) <= width:
            break
        goes = max(kept, key=lambda i: (columns[i].rank, i))
        if columns[goes].rank == 0:
            break
        kept.remove(goes)
    return kept


def _line(cells: Sequence[tuple[str, int]]) -> str:
    return GAP.join(text + " " * (width - cell_len(text)) for text, width in cells).rstrip()


def _fit(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(str(value).split()) or NOTHING


# ---- the tables, and remarks on them


def unanswered(addresses: Iterable[str], theirs: str = "its calls are") -> str:
    """A remark, where these replicas did not say what is `theirs`; empty: all did."""
    named = ", ".join(sorted(addresses))
    return f"no answer from {named}: {theirs} missing here" if named else ""


POOLS = (
    Column("NAME", lambda pool: pool.name, 0),
    Column("AVAILABLE", lambda pool: pool.available, 0),
    Column("CAPSULES", lambda pool: f"{pool.live_capsules}/{pool.desired_capsules}", 2),
    Column("WORKERS", lambda pool: pool.ready_workers, 1),
    Column("BUSY", lambda pool: f"{pool.busy_slots}/{pool.total_slots}", 1),
    Column("QUEUE", lambda pool: pool.queue_depth, 3),
    Column("SESSIONS", lambda pool: pool.sessions, 4),
    Column("BUDGET", lambda pool: "" if (left := pool.budget_left_percent) is None else f"{left}%", 5),
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
    Column("NODE", lambda worker: worker.node, 6, wide=True),
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
    Column("READ-ONLY", lambda tool: tool.read_only, 6, wide=True),
    Column("DESTRUCTIVE", lambda tool: "" if tool.destructive is None else tool.destructive, 6, wide=True),
    Column("TIMEOUT", lambda tool: f"{tool.timeout_seconds:g}s" if tool.timeout_seconds else "", 6, wide=True),
    Column("PROVIDER", lambda tool: tool.provider, 4),
    Column("SESSION", lambda tool: tool.session_id, 6, wide=True),
    Column("DESCRIPTION", lambda tool: tool.description.partition("\n")[0], 2),
)


def sessions(now: datetime) -> tuple[Column, ...]:
    """The columns of a pool's sessions, with ages as of `now`."""
    return (
        Column("ID", lambda session: session.id, 0),
        Column("WORKER", lambda session: session.worker, 1),
        Column("EPOCH", lambda session: session.epoch, 5),
        Column("AGE", lambda session: age((now - session.created).total_seconds()), 2),
        Column("UNUSED", lambda session: age((now - session.last_used).total_seconds()), 4),
        Column("EXPIRES", lambda session: age((session.expires - now).total_seconds()), 3),
        Column("TTL", lambda session: age(session.ttl_seconds), 6, wide=True),
        Column("OWNER", lambda session: session.owner, 5, wide=True),
        Column("GROUP", lambda session: session.group, 6, wide=True),
        Column("INCARNATION", lambda session: session.incarnation, 6, wide=True),
        Column("METADATA", lambda session: ",".join(f"{key}={value}" for key, value in sorted(session.metadata.items())), 6, wide=True),
    )


def seconds(count: float) -> str:
    """Write a duration: 0.4ms, 13ms, 2.1s, 45s."""
    if count < 1:
        return f"{count * 1000:.{count < 0.01:d}f}ms"
    return f"{count:.{count < 10:d}f}s"


def calls(now: datetime) -> tuple[Column, ...]:
    """The columns of calls, with ages as of `now`."""
    return (
        Column("ID", lambda call: call.id, 0),
        Column("POOL", lambda call: call.pool, 5),
        Column("TOOL", lambda call: call.tool, 1),
        Column("STATE", lambda call: call.state, 1),
        Column("REASON", lambda call: call.error_type if call.reason == "TOOL_ERROR" else call.reason, 2),
        Column("AGE", lambda call: age((now - call.created).total_seconds()), 3),
        Column("TOTAL", lambda call: seconds(call.total_seconds), 2),
        Column("QUEUE", lambda call: seconds(call.queue_seconds), 4),
        Column("RUN", _run, 4),
        Column("TRIES", lambda call: call.tries, 5),
        Column("WORKER", lambda call: call.worker, 3),
        Column("CALLER", lambda call: call.caller, 6),
        Column("SESSION", lambda call: call.session_id, 6, wide=True),
        Column("IN", lambda call: size(call.bytes_in), 6, wide=True),
        Column("OUT", lambda call: size(call.bytes_out), 6, wide=True),
        Column("PARENT", lambda call: call.parent_call_id, 6, wide=True),
        Column("TRACE", lambda call: call.trace_id, 6, wide=True),
    )


_EVENTS_SAY = {
    "queued": "for a slot, or for its session's turn",
    "joined": "it is given the outcome of its idempotency key, whichever call ran for that",
    "rebound": "its session is bound anew, to {}",
    "sent ahead": "{}, behind calls that run there",
    "recalled": "{} had not begun it, and a slot was free elsewhere",
    "rerun": "{} was lost, and the tool is idempotent",
}
"""What happened, for people; of other events the worker, or the reason, says it all."""

EVENTS = (
    Column("AT", lambda event: seconds(event.seconds), 0),
    Column("WHAT", lambda event: event.what, 0),
    Column("DETAIL", lambda event: _EVENTS_SAY.get(event.what, "{}").format(event.detail), 1),
)


def _run(call: CallInfo) -> str:
    """Of one that was lost nobody knows how long it ran."""
    return seconds(call.run_seconds) if call.run_seconds or call.started == "no" or not call.tries else NOTHING


def call_attributes(call: CallInfo) -> list[tuple[str, str]]:
    """Rows of ATTRIBUTES; those of them that say something."""
    ended = f"{call.reason}, {call.error_type}" if call.error_type else call.reason
    rows = {
        "Call": f"{call.tool} of {call.pool}",
        "State": f"{call.state}: {ended} (started: {call.started})" if call.reason else call.state,
        "Caller": call.caller,
        "Session": call.session_id,
        "Worker": f"{call.worker} ({call.incarnation})" if call.worker else "",
        "Came": call.created.isoformat(timespec="milliseconds"),
        "Total": seconds(call.total_seconds),
        "Queue": seconds(call.queue_seconds),
        "Run": _run(call),
        "Tries": str(call.tries),
        "In, out": f"{size(call.bytes_in)}, {size(call.bytes_out)}",
        "Priority": call.priority if call.priority != "normal" else "",
        "Within": f"{call.parent_call_id} (depth {call.depth})" if call.depth else "",
        "Trace": call.trace_id,
        "Replica": call.replica,
    }
    return [(name, text) for name, text in rows.items() if text]


ATTRIBUTES = (Column("ATTRIBUTE", lambda pair: pair[0], 0), Column("VALUE", lambda pair: pair[1], 0))


def attributes(caller: CallerInfo) -> list[tuple[str, str]]:
    """Rows of ATTRIBUTES, as `kubectl auth whoami` has them."""
    if not caller.subject:
        return [("Subject", "nobody: who calls is not asked here")]
    expires = caller.expires.isoformat(timespec="seconds") if caller.expires is not None else "never"
    return [("Subject", caller.subject), ("Groups", ", ".join(caller.groups)), ("Expires", expires)]
