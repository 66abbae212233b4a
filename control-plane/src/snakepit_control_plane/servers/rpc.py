"""What every servicer needs: the table's errors as rich statuses, deadlines off the context, names of pools."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import grpc

from snakepit.errors import SnakepitError
from snakepit.link.bulk import Moved, Piece
from snakepit.link.channels import PARENT_HEADER
from snakepit.link.status import to_status
from snakepit.local.sections import piece_of
from snakepit.names import parse_pool, pool_name
from snakepit_control_plane.authentication import Gate

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
_BROKEN: Any = grpc.aio.InternalError

_NO_DEADLINE_SECONDS = 1e9

Reply = TypeVar("Reply")

log = logging.getLogger(__name__)


def rich(method: Callable[..., Awaitable[Reply]]) -> Callable[..., Awaitable[Reply]]:
    """A unary RPC whose SnakepitErrors become statuses with ErrorInfo; whatever else it runs into is logged, and INTERNAL."""

    @functools.wraps(method)
    async def guarded(self: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Reply:
        try:
            return await method(self, request, context)
        except SnakepitError as error:
            await abort(context, error)
            raise
        except Exception as error:
            log.exception("%s failed", method.__qualname__)
            await abort(context, SnakepitError(f"the control plane could not handle this: {type(error).__name__}: {error}"))
            raise

    return guarded


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: SnakepitError) -> None:
    """End the RPC with the error; never returns."""
    code, message, trailers = to_status(error)
    await context.abort(code, message, trailers)


async def write(context: grpc.aio.ServicerContext[Any, Any], message: Any) -> None:
    """Write to a stream. One whose other end has gone ends quietly, also in the moment before grpcio cancels its handler."""
    try:
        await context.write(message)
    except _BROKEN as error:
        raise asyncio.CancelledError("the other end of the stream has gone") from error


async def pass_on(context: Any, item: bytes | Piece, moved: Moved = lambda size: None) -> None:
    """A message, or a piece that is still at whoever sent it, in its bulk lane; `moved` is told how much of that has gone. Raises Cut."""
    if isinstance(item, bytes):
        await write(context, item)
    elif (pour := getattr(context, "pour", None)) is not None:
        await pour(item, moved)
    else:
        async for message in item.messages():
            moved(len(piece_of(message)))
            await write(context, message)


def time_left(context: grpc.aio.ServicerContext[Any, Any]) -> float:
    """Seconds to the caller's deadline; 0 when it gave none (grpcio then says None, or some centuries)."""
    left = context.time_remaining()
    return 0.0 if left is None or left > _NO_DEADLINE_SECONDS else max(0.001, left)


def traceparent(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    return _header(context, "traceparent")


def parent_call_id(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The call to one of the client's own tools, out of which it makes this one; empty: it is made out of none."""
    return _header(context, PARENT_HEADER)


def _header(context: grpc.aio.ServicerContext[Any, Any], name: str) -> str:
    return next((str(value) for key, value in metadata(context) if key == name), "")


def metadata(context: grpc.aio.ServicerContext[Any, Any]) -> Sequence[tuple[str, str | bytes]]:
    """What the peer sent before its first message."""
    return cast(Sequence[tuple[str, str | bytes]], context.invocation_metadata() or ())


async def caller(gate: Gate, context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Whom the calls come from, as far as fairness goes: whoever its token says it is, or the connection."""
    return await gate.identify(metadata(context)) or str(context.peer())


def full_name(pool: str) -> str:
    """`namespace/name`, whatever of the two spellings came. Raises InvalidArguments."""
    return pool_name(*parse_pool(pool))
