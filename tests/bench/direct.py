"""The baseline: a hand-written grpc.aio servicer, called directly, without queue, session or retry, with grpcio's own settings.

As a program (`python -m tests.bench.direct`) it is the server, which prints its port; `direct()` is the caller's side.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import uvloop

from snakepit.v1 import common_pb2, router_pb2, router_pb2_grpc
from tests.bench.rounds import TEXT, Call

CHUNK_BYTES = 1024 * 1024
CHUNKS = 64


class Direct(router_pb2_grpc.RouterServiceServicer):
    """Echoes the payload; a stream is CHUNKS of CHUNK_BYTES."""

    async def Execute(self, request: router_pb2.ExecuteRequest, context: object) -> router_pb2.ExecuteResponse:  # noqa: N802
        return router_pb2.ExecuteResponse(payload=request.payload)

    async def ExecuteStream(  # noqa: N802
        self, request: router_pb2.ExecuteStreamRequest, context: object
    ) -> AsyncIterator[router_pb2.ExecuteStreamResponse]:
        for index in range(CHUNKS):
            yield router_pb2.ExecuteStreamResponse(index=index, payload=common_pb2.Payload(data=bytes(CHUNK_BYTES)))


def echo_request() -> router_pb2.ExecuteRequest:
    payload = common_pb2.Payload(data=json.dumps({"text": TEXT}, separators=(",", ":")).encode())
    return router_pb2.ExecuteRequest(pool="default/echo", tool="echo", payload=payload)


@asynccontextmanager
async def direct() -> AsyncIterator[Call]:
    """A direct unary call to a server process of its own."""
    async with direct_server() as address, unary_calls(address) as call:
        yield call


@asynccontextmanager
async def direct_server() -> AsyncIterator[str]:
    """The address of the baseline's server, in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.direct"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        port = (await asyncio.to_thread(process.stdout.readline)).strip()
        yield f"127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await asyncio.to_thread(process.wait, 10)
        process.stdout.close()


@asynccontextmanager
async def unary_calls(address: str) -> AsyncIterator[Call]:
    """A plain gRPC client's echo of 100 bytes, whoever answers."""
    request = echo_request()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        yield lambda: stub.Execute(request, timeout=30)


async def main() -> None:
    server = grpc.aio.server()
    router_pb2_grpc.add_RouterServiceServicer_to_server(Direct(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    (uvloop.run if os.environ.get("BENCH_UVLOOP") else asyncio.run)(main())
