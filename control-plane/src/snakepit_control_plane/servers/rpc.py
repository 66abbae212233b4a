"""What every servicer needs: errors as rich statuses, what stands in the context, names of pools, and large conversions off the loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from snakepit._names import parse_pool, pool_name
from snakepit._wire.channels import PARENT_HEADER
from snakepit._wire.status import to_status
from snakepit.errors import InvalidArguments, SnakepitError
from snakepit_control_plane.authentication.gate import Metadata
from snakepit_control_plane.servers.arrivals import EOF, LARGE_BYTES, Arrivals, missing

_BROKEN: Any = grpc.aio.InternalError

_NO_DEADLINE_SECONDS = 1e9

NO_MESSAGE = "what was sent is no message of this method: compare the client's stubs with proto/snakepit/v1"

Reply = TypeVar("Reply")
Sent = TypeVar("Sent", bound=Message)

log = logging.getLogger(__name__)


def handlers(
    service: ServiceDescriptor, servicer: object, arrivals: Arrivals, *, as_bytes: Collection[str] = ()
) -> grpc.GenericRpcHandler[Any, Any]:
    """What serves each RPC of a service: the method of that name. Those in `as_bytes` give their messages serialized.

    Found by name alone. The generated functions also register each method with the server, and grpcio 1.85 then keeps a task for every
    method, and looks at all of them at each call: a twentieth of what a plain call costs the replica.
    """
    made = {method.name: _handler(method, getattr(servicer, method.name), arrivals, method.name in as_bytes) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, made)


def _handler(method: MethodDescriptor, serve: Callable[..., Any], arrivals: Arrivals, as_bytes: bool) -> grpc.RpcMethodHandler[Any, Any]:
    """All of them are served as streams of requests: see `arrivals`."""
    read, write = readable(GetMessageClass(method.input_type)), None if as_bytes else GetMessageClass(method.output_type).SerializeToString
    if method.client_streaming:
        checked = _checked(serve, arrivals) if inspect.isasyncgenfunction(serve) else serve
        return grpc.stream_stream_rpc_method_handler(checked, read, write)
    make = grpc.stream_stream_rpc_method_handler if method.server_streaming else grpc.stream_unary_rpc_method_handler
    return make(_rich(serve, read, arrivals), None, write)


def _rich(
    serve: Callable[..., Awaitable[Reply]], read: Callable[[bytes], Message | None], arrivals: Arrivals
) -> Callable[..., Awaitable[Reply]]:
    """SnakepitErrors become statuses with ErrorInfo; whatever else an RPC of one request runs into is logged, and INTERNAL."""

    async def guarded(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> Reply:
        try:
            if (sent := await arrivals.read(context)) is EOF:
                sent = await missing()
            elif len(sent) > LARGE_BYTES:
                await arrivals.turns.turn()
            if (request := read(sent)) is None:
                raise InvalidArguments(NO_MESSAGE)
            return await serve(request, context)
        except SnakepitError as error:
            await abort(context, error)
            raise
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            log.exception("%s failed", serve.__qualname__)
            await abort(context, SnakepitError(f"the control plane could not handle this: {type(error).__name__}: {error}"))
            raise

    return guarded


def _checked(serve: Callable[[Any, Any], AsyncIterator[Reply]], arrivals: Arrivals) -> Callable[[Any, Any], AsyncIterator[Reply]]:
    async def requests(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[object]:
        while True:
            try:
                if (request := await arrivals.read(context)) is EOF:
                    return
                if request is None:
                    raise InvalidArguments(NO_MESSAGE)
            except SnakepitError as error:
                await abort(context, error)
            yield request

    async def checked(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Reply]:
        async for answer in serve(requests(context), context):
            yield answer

    return checked


def readable(kind: type[Sent]) -> Callable[[bytes], Sent | None]:
    """A deserializer that raises nothing: grpcio would log many lines for each message that is none."""

    def read(data: bytes) -> Sent | None:
        try:
            return kind.FromString(data)
        except DecodeError:
            return None

    return read


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: SnakepitError) -> None:
    """End the RPC with the error; never returns."""
    code, message, trailers = to_status(error)
    try:
        await context.abort(code, message, trailers)
    except grpc.aio.AbortError as aborted:
        asyncio.get_running_loop().call_soon(_forget, aborted)
        raise


def _forget(aborted: grpc.aio.AbortError) -> None:
    """How it came about. grpcio keeps the error with the RPC, whose handler's frames are in its traceback: a circle of fifty objects for
    each refusal, and strangers choose how many refusals there are."""
    aborted.__traceback__ = aborted.__context__ = None


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


def full_name(pool: str) -> str:
    """`namespace/name`, whatever of the two spellings came. Raises InvalidArguments."""
    return pool_name(*parse_pool(pool))


INLINE_BYTES = 16 * 1024
"""Up to here a conversion takes a few milliseconds at most, and is done where it is asked for."""

Converted = TypeVar("Converted")

_thread = ThreadPoolExecutor(1, "json form")


async def convert(size: int, work: Callable[[], Converted]) -> Converted:
    """What `work` gives or raises; `size`: bytes of what it converts."""
    if size <= INLINE_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_thread, work)
