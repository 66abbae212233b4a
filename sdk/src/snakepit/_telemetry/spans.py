"""What traces say: every span, attribute and event of ours, by name, in one table, which docs/tracing.md is generated from. Pure.

Names of others' conventions are theirs (https://opentelemetry.io/docs/specs/semconv/); what is ours begins with `snakepit.`.
"""

from __future__ import annotations

from typing import NamedTuple

POOL = "snakepit.pool"
TOOL = "snakepit.tool"
CALL_ID = "snakepit.call_id"
SESSION = "snakepit.session_id"
EPOCH = "snakepit.session_epoch"
WORKER = "snakepit.worker"
STARTED = "snakepit.started"
REASON = "snakepit.reason"
RESENT = "snakepit.resend_count"
TRIES = "snakepit.tries"
QUEUE_SECONDS = "snakepit.queue_seconds"
RUN_SECONDS = "snakepit.run_seconds"
STATE_KEY = "snakepit.state_key"
ERROR_TYPE = "error.type"
PROCESS_ID = "process.pid"
RPC_SYSTEM, RPC_METHOD = "rpc.system.name", "rpc.method"
SERVER = "server.address"
HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS = "http.request.method", "http.route", "http.response.status_code"
URL_PATH, URL_SCHEME = "url.path", "url.scheme"
MCP_METHOD, MCP_REQUEST = "mcp.method.name", "jsonrpc.request.id"
GEN_AI_OPERATION, GEN_AI_TOOL = "gen_ai.operation.name", "gen_ai.tool.name"

ATTRIBUTES = {
    POOL: "The pool, as `namespace/name`.",
    TOOL: "The tool.",
    CALL_ID: "The call's id, as logs, the console and `snakepit calls` have it.",
    SESSION: "The session that the call belongs to. It is left out where there is none.",
    EPOCH: "The session's epoch. It grows by one each time the session moves to another worker.",
    WORKER: "The worker that had the call last, as `pod/number`.",
    STARTED: "On a failure: whether the tool may have run (`yes`, `no`, `maybe`).",
    REASON: "Why a call came back, or went out again.",
    RESENT: "How often the SDK sent the call again.",
    TRIES: "How often the call was sent to a worker.",
    QUEUE_SECONDS: "Seconds for which the call waited in queues, in all.",
    RUN_SECONDS: "Seconds for which the tool ran, as its worker measured it; where that didn't say, until the answer.",
    STATE_KEY: "The key of the session's state. Values are never part of a trace.",
    ERROR_TYPE: "On a failure: its [reason](errors.md); of a tool's own span, the class of its exception; of HTTP, the status.",
    PROCESS_ID: "The worker's process.",
    RPC_SYSTEM: "Always `snakepit`.",
    RPC_METHOD: "The pool and the tool, as `namespace/name/tool`.",
    SERVER: "The control-plane replica that the call went to last.",
    HTTP_METHOD: "The request's method.",
    HTTP_ROUTE: "The route that served the request.",
    HTTP_STATUS: "The answer's status.",
    URL_PATH: "The request's path, without its query.",
    URL_SCHEME: "`http` or `https`.",
    MCP_METHOD: "Always `tools/call`.",
    MCP_REQUEST: "The id of the JSON-RPC request.",
    GEN_AI_OPERATION: "Always `execute_tool`.",
    GEN_AI_TOOL: "The tool.",
}

SENT_AGAIN, FIRST_CHUNK, EXCEPTION = "sent again", "first chunk", "exception"

EVENTS = {
    "joined": "The call waits for the outcome of another one with its idempotency key.",
    "queued": "No slot was free, and the call began to wait.",
    "bound": "The call's session was bound to a worker.",
    "rebound": "The same, where the session had been on another worker before.",
    "sent": "The call went to a worker.",
    "sent ahead": "The same, ahead of a free slot: it waits at the worker.",
    "recalled": "A slot was free elsewhere, and the call was called back from the worker it waited at.",
    "rejected": "The worker's agent could not take the call.",
    "rerun": "The worker died, and the tool may run twice: the call goes to another worker.",
    "answered": "The caller has the outcome.",
    SENT_AGAIN: "The SDK sends the call once more.",
    FIRST_CHUNK: "The stream's first chunk came.",
    EXCEPTION: "What the tool raised, with `exception.type`, `exception.message` and `exception.stacktrace`.",
}


class Kind(NamedTuple):
    """Spans of one kind. `name`: as it begins, and what follows. `also`: other services that make them. `role`: OpenTelemetry's kind."""

    name: str
    service: str
    role: str
    text: str
    attributes: tuple[str, ...]
    events: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


_CALL = (POOL, TOOL, CALL_ID, SESSION)
_FAILED = (ERROR_TYPE, STARTED)
_WAY = ("joined", "queued", "bound", "rebound", "sent", "sent ahead", "recalled", "rejected", "rerun", "answered")

CALL = Kind(
    "call {tool}",
    "snakepit-client",
    "client",
    "A call, as the SDK's caller sees it: from the first try to the outcome.",
    (*_CALL, RPC_SYSTEM, RPC_METHOD, SERVER, RESENT, *_FAILED),
    (SENT_AGAIN, FIRST_CHUNK),
    also=("snakepit-gateway",),
)
ROUTE = Kind(
    "route {tool}",
    "snakepit-control-plane",
    "server",
    "The call at its control-plane replica, whatever it came by. Its events say what happened to it.",
    (*_CALL, RPC_SYSTEM, RPC_METHOD, EPOCH, WORKER, TRIES, QUEUE_SECONDS, RUN_SECONDS, *_FAILED),
    _WAY,
)
TOOL_SPAN = Kind(
    "tool {tool}",
    "snakepit-agent",
    "internal",
    "The author's code, from its begin to its end in the worker. Your own spans are below it.",
    (*_CALL, WORKER, PROCESS_ID, *_FAILED),
    (EXCEPTION,),
)
STATE = Kind(
    "state {operation}",
    "snakepit-agent",
    "client",
    "What a tool asked of its session's state, or a client of any, as long as it waited.",
    (POOL, SESSION, STATE_KEY, *_FAILED),
    also=("snakepit-client", "snakepit-gateway"),
)
STORE = Kind(
    "store {operation}",
    "snakepit-control-plane",
    "server",
    "The same at the control plane: as long as the store took.",
    (POOL, SESSION, *_FAILED),
)
ASK = Kind(
    "ask {tool}",
    "snakepit-control-plane",
    "client",
    "A tool's call to a tool that a client offers.",
    (*_CALL, *_FAILED),
)
OFFERED = Kind("tool {tool}", "snakepit-client", "server", "The offered tool, in its client.", (*_CALL, *_FAILED))
HTTP = Kind(
    "{method} {route}",
    "snakepit-gateway",
    "server",
    "A request to the gateway.",
    (HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS, URL_PATH, URL_SCHEME, ERROR_TYPE),
)
MCP = Kind(
    "tools/call {tool}",
    "snakepit-gateway",
    "server",
    "A call that came by MCP.",
    (MCP_METHOD, MCP_REQUEST, GEN_AI_OPERATION, GEN_AI_TOOL, POOL, *_FAILED),
    also=("snakepit-client",),
)

TABLE = (HTTP, MCP, CALL, ROUTE, TOOL_SPAN, STATE, STORE, ASK, OFFERED)
"""From the caller to the tool."""


def of_call(pool: str, tool: str, call_id: str, session: str) -> dict[str, str]:
    """Attributes that say which call it is; `session` may be empty."""
    about = {POOL: pool, TOOL: tool, CALL_ID: call_id}
    return {**about, SESSION: session} if session else about


def of_request(pool: str, tool: str, call_id: str, session: str) -> dict[str, str]:
    """The same, of the call as the request that it is."""
    return {**of_call(pool, tool, call_id, session), RPC_SYSTEM: "snakepit", RPC_METHOD: f"{pool}/{tool}"}


def of_state(pool: str, session: str, key: str) -> dict[str, str]:
    """Attributes of an operation on a session's state; `key` may be empty."""
    about = {POOL: pool, SESSION: session}
    return {**about, STATE_KEY: key} if key else about
