"""Errors of the table as gRPC statuses, and back: `google.rpc.Status` with `ErrorInfo` and, where waiting helps, `RetryInfo`.

Source: https://google.aip.dev/193 and the `grpc-status-details-bin` trailer of gRPC's richer error model.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus

from snakepit.errors import DOMAIN, DeadlineExceeded, PayloadTooLarge, ServerUnavailable, SnakepitError, Started, from_reason
from snakepit.v1 import common_pb2

TRAILER = "grpc-status-details-bin"
NO_RETRY = ("grpc-retry-pushback-ms", "-1")
"""Says to a client that has a retry policy that it doesn't hold for this answer (gRPC's proposal A6)."""
_STARTED = "started"

_MESSAGE_BYTES = 1200
_DETAIL_BYTES = 250
"""gRPC's clients refuse more than 8 KiB of trailers, where a message is twice, percent-encoded and in base64: they would see
RESOURCE_EXHAUSTED instead of the error."""

Metadata = tuple[tuple[str, str | bytes], ...]

CODES = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: SnakepitError) -> tuple[grpc.StatusCode, str, Metadata]:
    """What `context.abort` takes: code, message, trailing metadata."""
    message = _clipped(error.message, _MESSAGE_BYTES)
    details = {key: _clipped(value, _DETAIL_BYTES) for key, value in error.details.items()}
    status = RpcStatus(code=int(error.status), message=message)
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={**details, _STARTED: error.started.name})
    status.details.add().Pack(info)
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    details_of = (TRAILER, status.SerializeToString())
    return CODES[int(error.status)], message, (details_of,) if error.started is Started.NO else (details_of, NO_RETRY)


def _clipped(text: str, most: int) -> str:
    """So many bytes of UTF-8 at most; what is left out is shown as an ellipsis."""
    data = text[: most + 1].encode()
    return text if len(data) <= most else data[: most - 3].decode(errors="ignore") + "…"


def from_rpc_error(error: grpc.RpcError) -> SnakepitError:
    """The table's exception for what a gRPC call raised; statuses that gRPC itself made are translated too."""
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ()) if hasattr(error, "trailing_metadata") else {}  # type: ignore[arg-type]
    rich = trailers.get(TRAILER)
    if rich:
        with contextlib.suppress(DecodeError, KeyError):  # Whoever wrote that is no control plane of ours: the bare status says more.
            return _from_rich(RpcStatus.FromString(rich))
    return _from_bare(error.code(), error.details() or "")


def from_cancelled() -> SnakepitError:
    """For a CancelledError that an RPC raised: its channel was closed under it. Raises it again where it is the task that is cancelled."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise
    return broken("the connection was closed")


def broken(message: str) -> ServerUnavailable:
    """Of a connection that has gone: what was sent may have arrived, and nobody has refused it."""
    error = ServerUnavailable(message, started=Started.MAYBE)
    error.of_connection = True
    return error


def to_frame(error: SnakepitError) -> common_pb2.Error:
    """The error as a link carries it."""
    return common_pb2.Error(
        reason=error.reason,
        message=error.message,
        started=int(error.started),  # type: ignore[arg-type]
        details=dict(error.details),
        retry_after_seconds=error.retry_after or 0.0,
    )


def from_frame(error: common_pb2.Error) -> SnakepitError:
    return from_reason(
        error.reason,
        error.message,
        started=Started.of(error.started),
        details=dict(error.details),
        retry_after=error.retry_after_seconds or None,
    )


def _from_rich(status: RpcStatus) -> SnakepitError:
    info, retry = ErrorInfo(), RetryInfo()
    delay: float | None = None
    for detail in status.details:
        if detail.Unpack(retry):
            delay = retry.retry_delay.ToNanoseconds() / 1e9
        else:
            detail.Unpack(info)
    details = dict(info.metadata)
    started = Started[details.pop(_STARTED, "UNKNOWN")]
    return from_reason(info.reason, status.message, started=started, details=details, retry_after=delay)


def _from_bare(code: grpc.StatusCode, details: str) -> SnakepitError:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("the deadline passed", started=Started.MAYBE)
    if code is grpc.StatusCode.CANCELLED:
        # By gRPC, as its connection was closed: whoever cancelled a call by its id says so in an error of ours.
        return broken("the connection was closed")
    if code is grpc.StatusCode.UNAVAILABLE:
        return broken(f"no answer from the control plane: {details}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message" in details:
        return PayloadTooLarge(f"the message is over gRPC's limit: {details}", details={"limit": "maxPayloadBytes"})
    return SnakepitError(f"{code.name}: {details}")
