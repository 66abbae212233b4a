"""The baseline: a hand-written grpc.aio servicer, called directly, without queue, session or retry. Prints its port."""

from __future__ import annotations

import asyncio
import os
import sys

import grpc
import uvloop

from snakepit.v1 import router_pb2, router_pb2_grpc


class Direct(router_pb2_grpc.RouterServiceServicer):
    """Echoes the payload."""

    async def Execute(self, request: router_pb2.ExecuteRequest, context: object) -> router_pb2.ExecuteResponse:  # noqa: N802
        return router_pb2.ExecuteResponse(payload=request.payload)


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
