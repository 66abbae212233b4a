"""What is served over plain HTTP: its paths, headers and events. Routes, OpenAPI documents and docs/http.md are made of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

JSON, SSE, NDJSON = "application/json", "text/event-stream", "application/x-ndjson"

POOLS = "/v1/pools"
WHOAMI = "/v1/whoami"
POOL = f"{POOLS}/{{namespace}}/{{pool}}"
TOOLS = f"{POOL}/tools"
TOOL = f"{TOOLS}/{{tool}}"
SESSIONS = f"{POOL}/sessions"
SESSION = f"{SESSIONS}/{{session}}"
STATE = f"{SESSION}/state"
VALUE = f"{STATE}/{{key}}"
WORKERS = f"{POOL}/workers"
OPENAPI = f"{POOL}/openapi.json"

PATHS: Mapping[str, Mapping[str, str]] = {
    TOOL: {"POST": "Call the tool", "GET": "What the catalogue says of it"},
    TOOLS: {"GET": "The pool's tools"},
    SESSIONS: {"GET": "The pool's sessions"},
    SESSION: {"PUT": "Make the session, or find it as it was", "GET": "How it is now", "DELETE": "End it"},
    STATE: {"GET": "The keys of its state, and their versions"},
    VALUE: {"GET": "The value", "PUT": "Write it", "DELETE": "Delete it"},
    POOL: {"GET": "How the pool is now"},
    WORKERS: {"GET": "The pool's workers"},
    OPENAPI: {"GET": "What its workers take at this moment, as OpenAPI 3.1"},
    POOLS: {"GET": "The pools that the caller may see"},
    WHOAMI: {"GET": "Who the caller is"},
}
"""Each method of each path, in a few words. The first path is the one that must be found quickly."""

LISTS = (POOLS, TOOLS, SESSIONS, STATE, WORKERS)
"""Those whose answers come in pages."""


class Header(NamedTuple):
    """`schema` None: it is no part of a pool's OpenAPI document, as any client may send it anywhere."""

    says: str
    schema: Mapping[str, Any] | None = None


ASKED: Mapping[str, Header] = {
    "Snakepit-Session": Header("The session that the call belongs to", {"pattern": "^[A-Za-z0-9_.:@/-]{1,128}$"}),
    "Snakepit-Affinity": Header(
        "How strictly the session stays with its worker, if not as the pool says", {"enum": ["hint", "strict_queue", "strict_fail_fast"]}
    ),
    "Snakepit-Timeout": Header(
        "The deadline, in seconds, if not that of the tool or the pool", {"type": "number", "exclusiveMinimum": 0, "maximum": 86400}
    ),
    "Request-Timeout": Header("The same, by the name that it has elsewhere"),
    "Snakepit-Priority": Header("In the queue", {"enum": ["high", "normal", "low"]}),
    "Idempotency-Key": Header("The call runs once for all requests that bring this key", {"minLength": 1, "maxLength": 255}),
    "traceparent": Header("The trace that the call is part of"),
    "tracestate": Header("What the systems that trace it say of it"),
    "baggage": Header("What goes along to the tool, and to what it calls"),
    "X-Request-Id": Header("Comes back as it is; without one, the gateway makes one up"),
}
"""Headers of a call."""

ANSWERED: Mapping[str, str] = {
    "Snakepit-Call-Id": "By it logs, traces and the console know the call",
    "Snakepit-Worker": "The worker that ran it, of a result that comes as a whole",
    "Snakepit-Warning": "A sentence for each part of a result that could not be carried",
}
"""Headers of a call's answer."""


class Event(StrEnum):
    """What an answer that comes bit by bit is made of."""

    CHUNK = "chunk"
    PROGRESS = "progress"
    WARNING = "warning"
    RESULT = "result"
    END = "end"
    ERROR = "error"


EVENTS: Mapping[Event, str] = {
    Event.CHUNK: "A value that the tool yields",
    Event.PROGRESS: "How far the tool is, as it says: `fraction`, from 0 to 1, and `message`",
    Event.WARNING: "Of the next chunk, or the result: a sentence for each part of it that could not be carried",
    Event.RESULT: "What it has returned; the last event",
    Event.END: "After the last chunk, how many `chunks` there were; the last event",
    Event.ERROR: "A problem; the last event",
}
