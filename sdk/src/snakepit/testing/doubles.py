"""What `ctx.call_tool` finds in a test: functions in the place of clients and other pools, with their schemas and encoding.

Each call runs in a thread of its own, so a tool may wait for it in whatever way it waits.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any

from snakepit._ipc.frames import CallFailure, Payload, ToolAnswer, ToolChunk, ToolFailure
from snakepit._names import nearest, parse_pool, pool_name
from snakepit._values import payloads
from snakepit.author.pending_call import PendingCall, ToolRequest
from snakepit.author.tools import Tool, as_tool
from snakepit.errors import DeadlineExceeded, SnakepitError, ToolNotFound

Send = Callable[[ToolChunk | ToolAnswer], None]
Run = Callable[[Coroutine[Any, Any, Any]], Any]
_END = object()


class ToolDoubles:
    """`offer` functions; `asked` has every request so far."""

    def __init__(self) -> None:
        self.asked: list[ToolRequest] = []
        self._tools: dict[tuple[str, str], Tool] = {}

    def offer(self, *functions: Callable[..., Any], pool: str = "") -> None:
        """Functions, sync or async, generators too, in the place of a client's tools or, with `pool`, of another pool's."""
        for function in functions:
            tool = as_tool(function)
            self._tools[pool_name(*parse_pool(pool)) if pool else "", tool.name] = tool

    def pending_call(self, request: ToolRequest) -> PendingCall:
        """Answer one request within this process."""
        pending = PendingCall(request, lambda: None, lambda: None)
        self.answer(request, 0, pending.add)
        return pending

    def answer(self, request: ToolRequest, operation_id: int, send: Send) -> None:
        """Run the tool; `send` gets what comes back, in order, from another thread."""
        self.asked.append(request)
        threading.Thread(target=self._run, args=(request, operation_id, send), name=f"fake {request.name}", daemon=True).start()

    def _run(self, request: ToolRequest, operation_id: int, send: Send) -> None:
        try:
            tool = self._find(request)
            with asyncio.Runner() as runner:

                def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
                    return runner.run(_in_time(coroutine, request))

                values = values_of(tool.function(**tool.decode(request.arguments)), run, runner.run)
                send(ToolAnswer(operation_id, payload=_give(tool, values, request, operation_id, send)))
        except SnakepitError as error:
            send(ToolAnswer(operation_id, failure=CallFailure(error.reason, error.message, int(error.started), dict(error.details))))
        except Exception as error:
            send(ToolAnswer(operation_id, tool_error=ToolFailure(type(error).__name__, str(error), traceback.format_exc())))

    def _find(self, request: ToolRequest) -> Tool:
        found = self._tools.get((request.pool, request.name))
        if found is None:
            names = [name for pool, name in self._tools if pool == request.pool]
            message = f"this test offers no tool {request.name!r}{f' of pool {request.pool}' if request.pool else ''}: give it with offer()"
            raise ToolNotFound(message, details={"nearest": ",".join(nearest(request.name, names))})
        return found


async def _in_time(coroutine: Coroutine[Any, Any, Any], request: ToolRequest) -> Any:
    """What is awaited ends with the request's deadline, as in a pool. Raises DeadlineExceeded then."""
    left = None if request.deadline is None else request.deadline - time.monotonic()
    try:
        async with asyncio.timeout(left) as limit:
            return await coroutine
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(f"the deadline of the call to {request.name!r} has passed") from None
        raise


def values_of(result: Any, run: Run, end: Run) -> Generator[Any, None, None]:
    """What a tool gave: its value, or those of its stream one by one. `run` runs what is awaited, `end` what ends a stream."""
    if inspect.iscoroutine(result):
        yield run(result)
    elif isinstance(result, AsyncIterator):
        values = result

        async def following() -> Any:
            return await anext(values, _END)

        try:
            while (value := run(following())) is not _END:
                yield value
        finally:
            if (close := getattr(values, "aclose", None)) is not None:
                end(close())
    elif isinstance(result, Iterator):
        yield from result
    else:
        yield result


def _give(tool: Tool, values: Iterator[Any], request: ToolRequest, operation_id: int, send: Send) -> Payload | None:
    """A stream as chunks where it was asked for as one, else the value, or all values."""
    if request.stream:
        for value in values:
            send(ToolChunk(operation_id, payloads.encode(value)))
        return None
    return payloads.encode(list(values) if tool.streaming else next(values))
