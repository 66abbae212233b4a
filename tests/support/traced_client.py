"""A program that calls, in the trace that TRACEPARENT names: `python -m support.traced_client SERVER POOL`. It prints what came back."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from opentelemetry import context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from snakepit import Client
from snakepit._telemetry import tracing
from snakepit.errors import ToolError


async def approve(what: str) -> str:
    """Offered to the pool's tools."""
    return f"{what} is fine"


async def calls(server: str, name: str) -> dict[str, object]:
    async with Client(server) as client, client.offer(approve, pool=name):
        pool = client.pool(name)
        said: dict[str, object] = {"chunks": [chunk async for chunk in pool.stream("count", {"to": 3})], "asked": await pool.call("ask")}
        try:
            await pool.call("fail")
        except ToolError as error:
            said["failed"] = error.type
        async with pool.session("byron") as session:
            await session.state.set("title", "Don Juan")
            said["title"] = await session.state.get("title")
        return said


def main() -> None:
    context.attach(TraceContextTextMapPropagator().extract({"traceparent": os.environ["TRACEPARENT"]}))
    print(json.dumps(asyncio.run(calls(*sys.argv[1:]))))
    tracing.shutdown()


if __name__ == "__main__":
    main()
