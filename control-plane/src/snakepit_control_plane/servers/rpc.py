"""What every servicer needs: the table's errors as rich statuses, deadlines off the context, names of pools."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message

from snakepit._names import parse_pool, pool_name
from snakepit._wire.channels import PARENT_HEADER
from snakepit._wire.status import to_status
from snakepit.errors import InvalidArguments, SnakepitError
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authentication.gate import Metadata

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
_BROKEN: Any = grpc.aio.InternalError

_NO_DEADLINE_SECONDS = 1e9

NO_MESSAGE = "what was sent is no message of this method: compare the client's stubs with proto/snakepit/v1"

Reply = TypeVar("Reply")
Sent = TypeVar("Sent", bound=Message)

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


def readable(kind: type[Sent]) -> Callable[[bytes], Sent | None]:
    """A deserializer that raises nothing: grpcio would log many lines for each message that is none. See `check_readable`."""

    def read(data: bytes) -> Sent | None:
        try:
            return kind.FromString(data)
        except DecodeError:
            return None

    return read


def check_readable(request: object) -> None:
    """Raises InvalidArguments for what was no message."""
    if request is None:
        raise InvalidArguments(NO_MESSAGE)


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


def time_left(context: grpc.aio.ServicerContext[Any, Any]) -> float:
    """Seconds to the caller's deadline; 0 when it gave none (grpcio then says None, or some centuries)."""
    left = context.time_remaining()
    return 0.0 if left is None or left > _NO_DEADLINE_SECONDS else max(0.001, left)


def traceparent(sent: Metadata) -> str:
    return _header(sent, "traceparent")


def parent_call_id(sent: Metadata) -> str:
    """The call to one of the client's own tools, out of which it makes this one; empty: it is made out of none."""
    return _header(sent, PARENT_HEADER)


def _header(sent: Metadata, name: str) -> str:
    for key, value in sent:
        if key == name:
            return str(value)
    return ""


def metadata(context: grpc.aio.ServicerContext[Any, Any]) -> Metadata:
    """What the peer sent before its first message; each time, grpcio makes it anew."""
    return cast(Metadata, context.invocation_metadata() or ())


async def caller(gate: Gate, context: grpc.aio.ServicerContext[Any, Any], sent: Metadata | None = None) -> str:
    """Whom the calls come from, as far as fairness goes: whoever its token says it is, or the connection. `sent`: see `metadata`."""
    return await gate.identify(metadata(context) if sent is None else sent) or str(context.peer())


class _Lenient(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # it has none when it runs
    """Generated handlers, whose requests are read as `readable` does."""

    def __init__(self, handlers: grpc.GenericRpcHandler[Any, Any]) -> None:
        self._handlers = handlers
        self._lenient: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        known = self._lenient.get(handler_call_details.method)
        if known is None and (handler := self._handlers.service(handler_call_details)) is not None:
            known = self._lenient[handler_call_details.method] = _lenient(handler)
        return known


def _lenient(handler: Any) -> Any:
    kind = "stream_stream" if handler.request_streaming else "unary_stream" if handler.response_streaming else "unary_unary"
    serve = getattr(handler, kind)
    checked = _checked_stream(serve) if inspect.isasyncgenfunction(serve) else serve if handler.request_streaming else _checked(serve)
    return handler._replace(request_deserializer=readable(handler.request_deserializer.__self__), **{kind: checked})


def _checked(serve: Callable[[Any, Any], Awaitable[Reply]]) -> Callable[[Any, Any], Awaitable[Reply]]:
    async def checked(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> Reply:
        if request is None:
            await abort(context, InvalidArguments(NO_MESSAGE))
        return await serve(request, context)

    return checked


def _checked_stream(serve: Callable[[Any, Any], AsyncIterator[Reply]]) -> Callable[[Any, Any], AsyncIterator[Reply]]:
    async def requests(sent: AsyncIterator[object], context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[object]:
        async for request in sent:
            if request is None:
                await abort(context, InvalidArguments(NO_MESSAGE))
            yield request

    async def checked(sent: AsyncIterator[object], context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Reply]:
        async for answer in serve(requests(sent, context), context):
            yield answer

    return checked


class Unregistered:
    """What the generated functions add a servicer to, instead of to the server itself: by name alone.

    They also register each method with the server, and grpcio 1.85 then keeps a task for every method, and looks at all of them at each
    call: a twentieth of what a plain call costs the replica.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._server.add_generic_rpc_handlers([_Lenient(handler) for handler in handlers])

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """They are found by their names."""


def full_name(pool: str) -> str:
    """`namespace/name`, whatever of the two spellings came. Raises InvalidArguments."""
    return pool_name(*parse_pool(pool))
