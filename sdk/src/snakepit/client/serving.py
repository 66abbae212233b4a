"""Runs the functions that a client offers, when workers call them: in the client's event loop, blocking ones in threads.

One task a call. It decodes, runs, and sends back chunks and one Result; which function is meant is `offers`' to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import math
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from snakepit._telemetry import baggage, spans, tracing
from snakepit._telemetry.propagation import BAGGAGE, TRACESTATE
from snakepit._telemetry.span import Span
from snakepit._values import payloads
from snakepit._values.strings import readable
from snakepit._wire import LinkClosed
from snakepit._wire.channels import MAX_PAYLOAD_BYTES
from snakepit._wire.status import from_frame, to_frame
from snakepit.author.context import AsyncContext, CallInfo, Context, StateCache
from snakepit.author.tools import Tool
from snakepit.client import codec
from snakepit.client.offers import Offers
from snakepit.client.peer import Peer
from snakepit.client.within import Within, within
from snakepit.errors import PayloadTooLarge, SnakepitError, Started, ToolError, ToolNotFound
from snakepit.v1 import common_pb2, link_pb2

THREADS = 32
"""Blocking functions that run at the same time; more wait."""

_END = object()
_KINDS = frozenset({"call", "offer_reply", "cancel", "flow"})


class Serving:
    """The calls that run here now."""

    def __init__(self, offers: Offers) -> None:
        self.offers = offers
        self.running: dict[tuple[Peer, int], Within] = {}
        self._threads: ThreadPoolExecutor | None = None

    def take(self, peer: Peer, kind: str | None, frame: link_pb2.Frame) -> bool:
        """A frame that is not about a call of our own; False: nor is it about one of these."""
        if kind == "call":
            self._begin(peer, frame.call)
        elif kind == "offer_reply":
            self.offers.replied(peer, frame.offer_reply)
        elif kind == "cancel" and (running := self.running.get((peer, frame.cancel.id))) is not None:
            running.stop(frame.cancel.reason)
        elif kind == "flow" and (running := self.running.get((peer, frame.flow.id))) is not None:
            running.window.taken(frame.flow.taken)
        return kind in _KINDS

    def linked(self, peer: Peer) -> None:
        """It gets every offer."""
        self.offers.linked(peer)

    def unlinked(self, peer: Peer) -> None:
        """Nobody waits for these any more."""
        self.offers.unlinked(peer)
        for running in [each for key, each in self.running.items() if key[0] is peer]:
            running.stop("CANCELLED")

    async def stop(self) -> None:
        """Cancel what runs. A blocking function that doesn't look at its context runs on in its thread."""
        self.offers.stop()
        tasks = [each.task for each in self.running.values() if each.task is not None]
        for running in list(self.running.values()):
            running.stop("CANCELLED")
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, peer: Peer, call: link_pb2.Call) -> None:
        offer = self.offers.find(call.pool, call.session_id, call.tool)
        if offer is None:
            gone = ToolNotFound(f"the client has withdrawn tool {call.tool!r}")
            _send(peer, link_pb2.Frame(result=link_pb2.Result(id=call.id, call_id=call.call_id, error=to_frame(gone))))
            return
        until = asyncio.get_running_loop().time() + (call.timeout_seconds or math.inf)
        running = self.running[peer, call.id] = Within(peer, call, offer.tools[call.tool], until)
        running.task = asyncio.create_task(self._serve(running), name=f"offered tool {call.tool}")
        offer.running.add(running)
        running.task.add_done_callback(lambda _: offer.running.discard(running))

    async def _serve(self, running: Within) -> None:
        call = running.call
        within.set(running)
        if said := call.metadata.get(BAGGAGE, ""):
            baggage.make_current(said)
        span = _span(call) if call.traceparent else None
        result = link_pb2.Result(id=call.id, call_id=call.call_id)
        try:
            await self._outcome(running, result)
        finally:
            del self.running[running.peer, call.id]
            if span is not None:
                span.end(*_error(result, running.reason))
        _send(running.peer, link_pb2.Frame(result=result))

    async def _outcome(self, running: Within, result: link_pb2.Result) -> None:
        try:
            value = await self._run(running)
            if value is not None:
                result.payload.CopyFrom(value)
            return
        except SnakepitError as error:
            failure = error
        except (Exception, asyncio.CancelledError) as error:
            if running.reason and isinstance(error, asyncio.CancelledError):
                raise
            text = "".join(traceback.format_exception(error))
            failure = ToolError(type(error).__name__, readable(str(error)), readable(text))
        if isinstance(failure, ToolError):
            result.tool_error.CopyFrom(common_pb2.ToolError(type=failure.type, message=failure.message, traceback=failure.traceback))
        else:
            result.error.CopyFrom(to_frame(failure))

    async def _run(self, running: Within) -> common_pb2.Payload | None:
        call, tool = running.call, running.runs
        arguments = tool.decode(codec.plain(call.arguments))
        if tool.signature.context:
            arguments[tool.signature.context] = _context(running, tool)
        given = tool.function(**arguments) if tool.signature.asynchronous else await self._in_thread(tool.function, arguments)
        if not tool.streaming:
            encoded = _encoded(running, await given if inspect.isawaitable(given) else given)
            if not call.stream:
                return encoded
            await _chunk(running, encoded)
            return None
        each = given if isinstance(given, AsyncIterator) else self._iterate(given)
        try:
            return await (self._stream(running, each) if call.stream else self._collect(running, each))
        finally:
            if (close := getattr(each, "aclose", None)) is not None:
                await close()

    async def _stream(self, running: Within, values: AsyncIterator[Any]) -> None:
        async for value in values:
            await _chunk(running, _encoded(running, value))

    async def _collect(self, running: Within, values: AsyncIterator[Any]) -> common_pb2.Payload:
        collected, size = [], 0
        async for value in values:
            collected.append(value)
            size += payloads.size(payloads.encode(value))
            _check_size(running, size)
        return _encoded(running, collected)

    async def _iterate(self, values: Any) -> AsyncIterator[Any]:
        iterator: Iterator[Any] = iter(values)
        try:
            while (value := await self._in_thread(next, {}, iterator, _END)) is not _END:
                yield value
        finally:
            if (close := getattr(iterator, "close", None)) is not None:
                with contextlib.suppress(ValueError):  # It runs: it is closed when it has yielded, and nobody has it any more.
                    await self._in_thread(close, {})

    async def _in_thread(self, function: Callable[..., Any], keywords: dict[str, Any], *arguments: Any) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="snakepit-tool")
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: run(function, *arguments, **keywords))


def _context(running: Within, tool: Tool) -> Context | AsyncContext:
    call = running.call
    deadline = time.monotonic() + call.timeout_seconds if call.timeout_seconds else None
    info = CallInfo(call.call_id, call.tool, call.session_id, 0, dict(call.metadata), deadline)
    return (AsyncContext if tool.signature.async_context else Context)(info, running, StateCache())


async def _chunk(running: Within, payload: common_pb2.Payload) -> None:
    await running.window.room()
    if running.reason:
        raise asyncio.CancelledError  # It was told once, and goes on: nobody takes what it says.
    running.window.sent(payloads.size(payload))
    _send(running.peer, link_pb2.Frame(flow=link_pb2.Flow(id=running.call.id, chunk=payload)))


def _encoded(running: Within, value: Any) -> common_pb2.Payload:
    encoded = codec.encode_answer(value)
    _check_size(running, payloads.size(encoded))
    return encoded


def _check_size(running: Within, size: int) -> None:
    limit = running.peer.replica.max_payload_bytes or MAX_PAYLOAD_BYTES
    if size > limit:
        message = f"the result of tool {running.call.tool!r} has {size} bytes; the limit maxPayloadBytes is {limit}"
        raise PayloadTooLarge(message, started=Started.YES, details={"limit": "maxPayloadBytes", "bytes": str(limit)})


def _send(peer: Peer, frame: link_pb2.Frame) -> None:
    try:
        peer.link.send(frame)
    except LinkClosed:
        return  # The replica has given the call up with the link.


def _span(call: link_pb2.Call) -> Span | None:
    """Around the function; what it does belongs under it, its own calls too."""
    about = spans.of_call(call.pool, call.tool, call.call_id, call.session_id)
    state = call.metadata.get(TRACESTATE, "")
    return tracing.start_span(f"tool {call.tool}", call.traceparent, about, kind="server", tracestate=state, current=True)


def _error(result: link_pb2.Result, reason: str) -> tuple[str, str]:
    """As a span has it: the reason, and whether the function may have run."""
    kind = result.WhichOneof("outcome")
    if kind == "error" and not reason:
        return result.error.reason, str(from_frame(result.error).started)
    return reason or ("TOOL_ERROR" if kind == "tool_error" else ""), str(Started.YES)
