"""A line of a log, as every program of ours writes it: one JSON object, whose fields are these and no others. Pure.

It owns the schema (docs/logs.md and docs/log-line.schema.json are made of it), and how a line is shown to people.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

import msgspec

from snakepit._telemetry.traceparent import parse

Level = Literal["debug", "info", "warning", "error", "critical"]
LEVELS: tuple[Level, ...] = get_args(Level)

THRESHOLDS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""What SNAKEPIT_LOG_LEVEL may say, as Python's number."""

MOST = 32_000
"""Characters of a message: what is longer loses its end. Of an exception, which says at its end what happened, its beginning."""

MOST_DETAIL, MOST_DETAIL_NAME = 1_000, 100
MOST_DETAILS = 16

TOOL_LOGGER = "snakepit.tool"
"""A tool's own logger, `ctx.logger`, has its name behind this."""

Detail = str | int | float | bool

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""The last one is uvicorn's: the message again, for terminals."""


def _field(text: str, **rules: Any) -> msgspec.Meta:
    return msgspec.Meta(description=text, **rules)


class LogLine(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A line of the log of a program of Snakepit. Fields that are empty are left out."""

    time: Annotated[str, _field("When: RFC 3339, in UTC, with milliseconds.", pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
    level: Annotated[Level, _field("How serious it is. What is printed without a level is info.")]
    component: Annotated[
        Literal["control-plane", "operator", "gateway", "agent", "keeper", "zygote", "worker"],
        _field("Which program wrote it. Of a tool, or what it started: worker. keeper and zygote start workers, see docs/workers.md."),
    ]
    pool: Annotated[str, _field("namespace/name of the pool that it is about.")] = ""
    capsule: Annotated[str, _field("The capsule that wrote it, or that it is about; on a cluster its pod has the same name.")] = ""
    worker: Annotated[str, _field("capsule/index of the worker that wrote it, or that it is about.")] = ""
    call: Annotated[str, _field("Id of the call that it belongs to, as an error and `snakepit calls` have it.")] = ""
    session: Annotated[str, _field("Id of that call's session.")] = ""
    tool: Annotated[str, _field("Name of that call's tool.")] = ""
    logger: Annotated[str, _field("Python's logger, where it was logged. Tools have snakepit.tool.NAME, the audit log snakepit.audit.")] = (
        ""
    )
    stream: Annotated[Literal["", "stdout", "stderr"], _field("Where it was printed, if it was.")] = ""
    message: Annotated[str, _field("A sentence for people, or what a tool printed. It may have several lines.")]
    exception: Annotated[str, _field("A traceback. Of what a tool raises it has the author's own frames alone.")] = ""
    trace_id: Annotated[str, _field("The W3C's trace id, where the call is traced.", pattern="^([0-9a-f]{32})?$")] = ""
    span_id: Annotated[str, _field("The span in it.", pattern="^([0-9a-f]{16})?$")] = ""
    details: Annotated[dict[str, Detail], _field(f"What else there is to say, by name; {MOST_DETAILS} at most.")] = {}


FIELDS = frozenset(LogLine.__struct_fields__)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LogLine).decode


def encode(line: LogLine) -> bytes:
    """The line with its newline; lone surrogates, which UTF-8 hasn't, become backslash escapes."""
    try:
        return _encode(line) + b"\n"
    except UnicodeEncodeError:
        return _encode(msgspec.convert(_clean(msgspec.to_builtins(line)), LogLine)) + b"\n"


def decode(text: str | bytes) -> LogLine | None:
    """None: it is no line of ours."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError):
        return None


def moment(when: float) -> str:
    """Unix seconds as `time` has them."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def level_of(number: int) -> Level:
    """Of a record of Python's: levels between ours, which anybody may add, are the next lower one."""
    if number >= logging.WARNING:
        return "warning" if number < logging.ERROR else "error" if number < logging.CRITICAL else "critical"
    return "info" if number >= logging.INFO else "debug"


def bounded(text: str, most: int = MOST) -> str:
    """A text without what is beyond so many characters."""
    return text if len(text) <= most else f"{text[:most]} ... ({len(text) - most} characters more)"


def details(extra: Mapping[str, Any]) -> dict[str, Detail]:
    """What a record has beside our fields, as values that every log system takes."""
    return {name[:MOST_DETAIL_NAME]: _detail(value) for name, value in list(extra.items())[:MOST_DETAILS]}


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record has beside that which Python gives to each."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _detail(value: Any) -> Detail:
    """Numbers that JSON hasn't, or that its readers can't keep, are text. numpy's float is one of Python's, and made a plain one."""
    if isinstance(value, (bool, int, float)) and -(2**53) <= value <= 2**53:
        return value if isinstance(value, bool) else float(value) if isinstance(value, float) else int(value)
    return bounded(str(value), MOST_DETAIL)


def trace_ids(traceparent: str) -> dict[str, str]:
    """The ids in a W3C `traceparent`; none where there is none, or it is something else."""
    found = parse(traceparent)
    return {} if found is None else {"trace_id": found.trace_id, "span_id": found.span_id}


def as_text(line: LogLine) -> str:
    """For people: which tool's it is in front of it, where it is one's, and which call's where an exception follows."""
    session = f" [{line.session}]" if line.session else ""
    call = f"{line.tool}{session}: " if line.call and line.tool else ""
    which = f" (call {line.call})" if line.call and line.exception else ""
    exception = f"\n{line.exception.rstrip()}" if line.exception else ""
    return f"{call}{_logged(line)}{line.message}{which}{exception}"


def _logged(line: LogLine) -> str:
    if line.component not in ("keeper", "zygote", "worker"):
        return f"{line.component} {line.level.upper()} "
    if not line.logger:
        return ""
    own = line.call and line.logger == f"{TOOL_LOGGER}.{line.tool}"
    return f"{line.level.upper()}: " if own else f"{line.level.upper()} {line.logger}: "


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {_clean(name): _clean(each) for name, each in value.items()}
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
