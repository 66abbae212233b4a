"""The one table of failures: exception, gRPC status, HTTP status, reason, and whether the tool may have started.

Everything that can go wrong with a call has one class here. Both ends of every wire use it, so a caller in the SDK, in plain gRPC
and on the command line is told the same thing in the same words. It knows nothing of grpcio: a status is its canonical number
(https://grpc.io/docs/guides/status-codes/).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

DOMAIN = "snakepit.dev"
"""`google.rpc.ErrorInfo.domain` of every error of ours."""


class Status(enum.IntEnum):
    """gRPC's canonical status codes, as far as we use them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_HTTP = {
    Status.CANCELLED: 499,
    Status.UNKNOWN: 500,
    Status.INVALID_ARGUMENT: 400,
    Status.DEADLINE_EXCEEDED: 504,
    Status.NOT_FOUND: 404,
    Status.PERMISSION_DENIED: 403,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.FAILED_PRECONDITION: 409,
    Status.ABORTED: 502,
    Status.INTERNAL: 500,
    Status.UNAVAILABLE: 503,
    Status.UNAUTHENTICATED: 401,
}
"""As google.rpc.Code has them, but for two: what the session's or the pool's present state doesn't allow is a conflict, and a worker that
is lost in the middle of a call is a bad gateway, which no proxy sends again by itself."""


class Started(enum.StrEnum):
    """May the tool have run? A word; `int()` of it is the number of `snakepit.v1.Started`, and `of` gives the word of a number."""

    UNKNOWN = "unknown"
    NO = "no"
    MAYBE = "maybe"
    YES = "yes"

    def __int__(self) -> int:
        return _STARTED.index(self)

    @classmethod
    def of(cls, number: int) -> Started:
        """Of a number that this version doesn't know: UNKNOWN."""
        return _STARTED[number] if 0 <= number < len(_STARTED) else cls.UNKNOWN


_STARTED = tuple(Started)


class Fault(enum.StrEnum):
    """Whose fault a failure is, as a pool's objectives count it (docs/slo.md). A caller's has nothing to do with how well a pool serves."""

    PLATFORM = "platform"
    """The pool's, or what it runs on: workers, slots, control plane, store."""
    AUTHOR = "author"
    CALLER = "caller"


class SnakepitError(Exception):
    """A call or a request that failed.

    `message` is one sentence for a person; `details` are strings for a program (they travel in `ErrorInfo.metadata`);
    `retry_after` is in seconds, None where waiting is no advice. `call_id` is that of a call through a client, for `snakepit explain`
    and `snakepit logs --call`; empty for what was no call.
    """

    call_id = ""
    reason: ClassVar[str] = "INTERNAL"
    status: ClassVar[Status] = Status.INTERNAL
    http: ClassVar[int] = 500
    default_started: ClassVar[Started] = Started.UNKNOWN
    within_tools: ClassVar[bool] = True
    """A tool can meet it in what it asks for through its context. Where it lets it through, its own call fails so, with `started` YES."""
    fault: ClassVar[Fault] = Fault.PLATFORM
    of_context = False
    """Raised by a tool's context, not by the author: a tool that lets it through has failed for this reason."""

    def __init_subclass__(
        cls,
        *,
        reason: str | None = None,
        status: Status | None = None,
        http: int | None = None,
        started: Started | None = None,
        within_tools: bool = True,
        fault: Fault | None = None,
    ) -> None:
        """A row of the table. What a class doesn't say is as in the class that it derives from."""
        cls.reason = reason or cls.reason
        cls.http = http or (_HTTP[status] if status else cls.http)
        cls.status = status or cls.status
        cls.default_started = started or cls.default_started
        cls.within_tools = within_tools and cls.within_tools
        cls.fault = fault or cls.fault

    def __init__(
        self,
        message: str,
        *,
        started: Started | None = None,
        details: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.started = self.default_started if started is None else started
        self.details: Mapping[str, str] = MappingProxyType(dict(details or {}))
        self.retry_after = retry_after


class PayloadWarning(UserWarning):
    """A value held something that can't be carried: a marker, `{"$unserializable": "module.Type"}`, stands in its place."""


class InvalidArguments(SnakepitError, reason="INVALID_ARGUMENTS", status=Status.INVALID_ARGUMENT, started=Started.NO, fault=Fault.CALLER):
    """The arguments don't fit the tool's signature, or a request's field is wrong; the message names it."""


class PoolNotFound(SnakepitError, reason="POOL_NOT_FOUND", status=Status.NOT_FOUND, started=Started.NO, fault=Fault.CALLER):
    """No such pool; the message names it."""


class ToolNotFound(SnakepitError, reason="TOOL_NOT_FOUND", status=Status.NOT_FOUND, started=Started.NO, fault=Fault.CALLER):
    """`details["nearest"]` has the nearest names, comma-separated."""


class SessionNotFound(SnakepitError, reason="SESSION_NOT_FOUND", status=Status.NOT_FOUND, started=Started.NO, fault=Fault.CALLER):
    """No such session in that pool: it was never created, was deleted, or has expired."""


class CallNotFound(
    SnakepitError, reason="CALL_NOT_FOUND", status=Status.NOT_FOUND, started=Started.NO, within_tools=False, fault=Fault.CALLER
):
    """Nobody knows of a call with that id in that pool: it never came, or its record has made room for others'."""


class PoolNotReady(SnakepitError, reason="POOL_NOT_READY", status=Status.UNAVAILABLE, started=Started.NO):
    """The pool has never had a ready worker (the message carries the reason that its workers give), this replica has just started, or
    one worker after the other ended before it had begun the call."""


class Draining(SnakepitError, reason="DRAINING", status=Status.UNAVAILABLE, started=Started.NO, within_tools=False):
    """This replica of the control plane is about to stop; the others take the call."""


class PoolSaturated(SnakepitError, reason="POOL_SATURATED", status=Status.RESOURCE_EXHAUSTED, started=Started.NO):
    """The pool's queue is full."""


class CallerLimit(SnakepitError, reason="CALLER_LIMIT", status=Status.RESOURCE_EXHAUSTED, started=Started.NO, fault=Fault.CALLER):
    """The caller has as many calls, links or sessions as a limit allows, or opens links too fast, or its sessions hold enough;
    `details["limit"]` names the limit."""


class QueueTimeout(SnakepitError, reason="QUEUE_TIMEOUT", status=Status.RESOURCE_EXHAUSTED, started=Started.NO):
    """The call waited `queue.timeoutSeconds` for a free slot."""


class WorkerBusy(SnakepitError, reason="WORKER_BUSY", status=Status.RESOURCE_EXHAUSTED, started=Started.NO, fault=Fault.CALLER):
    """The session is `strict_fail_fast`, and its worker has no free slot."""


class SessionWorkerUnavailable(SnakepitError, reason="SESSION_WORKER_UNAVAILABLE", status=Status.FAILED_PRECONDITION, started=Started.NO):
    """The strict session's worker is gone; `details["why"]`: recycled, oom, crashed, evicted, scaled down, lost."""


class WorkerLost(SnakepitError, reason="WORKER_LOST", status=Status.ABORTED, started=Started.MAYBE):
    """The worker died during the call; `details["how"]` says how: exit code, signal, oom, lost."""


class StaleEpoch(SnakepitError, reason="STALE_EPOCH", status=Status.FAILED_PRECONDITION, started=Started.NO):
    """The session has moved to another worker, or is another life of that id: this write or result is refused."""


class DeadlineExceeded(SnakepitError, reason="DEADLINE", status=Status.DEADLINE_EXCEEDED):
    """The call's deadline has passed."""


class StoreUnavailable(SnakepitError, reason="STORE_UNAVAILABLE", status=Status.UNAVAILABLE, started=Started.NO):
    """The session store can't be reached, and this request needs it."""


class SessionQuota(SnakepitError, reason="SESSION_QUOTA", status=Status.RESOURCE_EXHAUSTED, started=Started.NO, within_tools=False):
    """The pool has as many sessions as `session.maxSessions` allows."""


class StateQuota(SnakepitError, reason="STATE_QUOTA", status=Status.RESOURCE_EXHAUSTED, http=413, started=Started.NO, fault=Fault.AUTHOR):
    """The session's state is as large as `session.maxKeys`, `maxValueBytes` or `maxBytes` allows; `details["limit"]` names the limit."""


class ToolQuota(
    SnakepitError, reason="TOOL_QUOTA", status=Status.RESOURCE_EXHAUSTED, started=Started.NO, within_tools=False, fault=Fault.CALLER
):
    """A client offers more tools than one client, or one pool, may have; `details["limit"]` names the limit."""


class CallTooDeep(SnakepitError, reason="CALL_TOO_DEEP", status=Status.FAILED_PRECONDITION, started=Started.NO, fault=Fault.AUTHOR):
    """Tools that call tools: this call is nested in too many others, as in a circle of tools that call each other."""


class WouldDeadlock(SnakepitError, reason="DEADLOCK", status=Status.FAILED_PRECONDITION, started=Started.NO, fault=Fault.AUTHOR):
    """The call can only run where the calls that it is nested in hold every slot: they would wait for it, and it for them."""


class PayloadTooLarge(
    SnakepitError, reason="PAYLOAD_TOO_LARGE", status=Status.RESOURCE_EXHAUSTED, http=413, started=Started.NO, fault=Fault.CALLER
):
    """The arguments (started "no") or the result ("yes"): `details["limit"]` names the limit, `details["bytes"]` its value."""


class Cancelled(SnakepitError, reason="CANCELLED", status=Status.CANCELLED, fault=Fault.CALLER):
    """The caller cancelled the call, or went away."""


class ReplicaLost(SnakepitError, reason="REPLICA_LOST", status=Status.UNAVAILABLE, http=502, started=Started.MAYBE):
    """The control-plane replica that held the call went away."""


class ServerUnavailable(SnakepitError, reason="SERVER_UNAVAILABLE", status=Status.UNAVAILABLE, started=Started.NO, within_tools=False):
    """No control plane answers at the given address, or it can't check credentials now."""

    of_connection = False
    """The connection has gone, by what gRPC itself says: no control plane has refused anything."""


class ProtocolMismatch(
    SnakepitError,
    reason="PROTOCOL_MISMATCH",
    status=Status.FAILED_PRECONDITION,
    http=502,
    started=Started.NO,
    within_tools=False,
    fault=Fault.CALLER,
):
    """The other end of the link speaks another version of the protocol."""


class Unauthenticated(
    SnakepitError, reason="UNAUTHENTICATED", status=Status.UNAUTHENTICATED, started=Started.NO, within_tools=False, fault=Fault.CALLER
):
    """The credentials are missing or not valid."""


class PermissionDenied(
    SnakepitError, reason="PERMISSION_DENIED", status=Status.PERMISSION_DENIED, started=Started.NO, within_tools=False, fault=Fault.CALLER
):
    """The credentials are valid and don't allow this."""


class ToolError(SnakepitError, reason="TOOL_ERROR", status=Status.UNKNOWN, started=Started.YES, fault=Fault.AUTHOR):
    """The author's code raised. `type` is the exception's class name, `traceback` is text."""

    def __init__(self, type: str, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.type = type
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


def _subclasses(of: type[SnakepitError]) -> list[type[SnakepitError]]:
    return [of, *(each for child in of.__subclasses__() for each in _subclasses(child))]


BY_REASON: Mapping[str, type[SnakepitError]] = MappingProxyType({e.reason: e for e in _subclasses(SnakepitError) if e is not ToolError})
"""Every failure that travels as an error, by the reason that travels with it."""


def from_reason(
    reason: str,
    message: str,
    *,
    started: Started = Started.UNKNOWN,
    details: Mapping[str, str] | None = None,
    retry_after: float | None = None,
) -> SnakepitError:
    """The exception for a reason off the wire; one that we don't know becomes a plain `SnakepitError` that names it."""
    kind = BY_REASON.get(reason)
    if kind is None:
        return SnakepitError(f"{reason}: {message}", started=started, details=details, retry_after=retry_after)
    return kind(message, started=None if started is Started.UNKNOWN else started, details=details, retry_after=retry_after)
