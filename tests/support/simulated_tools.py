"""Tools of a simulated agent: what it answers, when, and in how many pieces."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from snakepit.v1 import common_pb2, link_pb2

if TYPE_CHECKING:
    from .simulated_agent import SimulatedAgent

Tool = Callable[["SimulatedAgent", link_pb2.Call], Awaitable[link_pb2.Result]]


def payload(value: object) -> common_pb2.Payload:
    return common_pb2.Payload(content_type="application/json", data=json.dumps(value).encode())


def success(value: object, run_seconds: float = 0.001) -> link_pb2.Result:
    return link_pb2.Result(payload=payload(value), run_seconds=run_seconds)


async def echo(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    return link_pb2.Result(payload=call.arguments, run_seconds=0.001)


async def hang(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    """Until the test calls `agent.let_go()`."""
    await agent.gate.wait()
    return success("late")


async def fail(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    return link_pb2.Result(tool_error=common_pb2.ToolError(type="ValueError", message="no", traceback="Traceback"))


async def count(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    """A stream of `to` numbers."""
    to = json.loads(call.arguments.data)["to"]
    chunks = [link_pb2.Chunk(index=i, payload=payload(i)) for i in range(to)]
    await agent.pipe(call, [*chunks, link_pb2.Chunk(index=to, last=True)])
    return link_pb2.Result()


TOOLS: dict[str, Tool] = {"echo": echo, "hang": hang, "fail": fail, "count": count}
