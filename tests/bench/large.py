"""Large payloads: 1 MiB in and out, and a stream of 64 MiB, through SDK, control plane, agent and worker, against plain gRPC directly."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import grpc

from snakepit.v1 import common_pb2, router_pb2, router_pb2_grpc
from tests.bench.direct import CHUNK_BYTES, CHUNKS, direct_server
from tests.bench.plane import plane
from tests.bench.rounds import closed_loop, interleave, median
from tests.bench.rows import Row, Target

CALLERS = 4
MIB = 1024 * 1024
LEAST = 0.7


async def rows() -> list[Row]:
    async with direct_server() as address, plane() as (_, pool), grpc.aio.insecure_channel(address) as channel:
        stub, data = router_pb2_grpc.RouterServiceStub(channel), bytes(MIB)
        request = router_pb2.ExecuteRequest(payload=common_pb2.Payload(data=data))

        async def direct_stream() -> int:
            stream = stub.ExecuteStream(router_pb2.ExecuteStreamRequest())
            return sum([len(chunk.payload.data) async for chunk in stream])

        async def routed_stream() -> int:
            return sum([len(chunk) async for chunk in pool.stream("pour", {"chunks": CHUNKS, "size": CHUNK_BYTES}, timeout=60)])

        echoes = {
            "direct": partial(closed_loop, lambda: stub.Execute(request, timeout=30), CALLERS),
            "routed": partial(closed_loop, partial(pool.call, "mirror", {"data": data}, timeout=30), CALLERS),
        }
        streams = {"direct": partial(mib_per_second, direct_stream), "routed": partial(mib_per_second, routed_stream)}
        echoed = [{name: load.per_second * 2 for name, load in each.items()} for each in await interleave("1 MiB in and out", echoes)]
        streamed = await interleave("64 MiB streamed", streams)
    return [
        _row(f"MiB/s, 1 MiB in and out, {CALLERS} callers", echoed),
        _row(f"MiB/s of a stream of {CHUNKS * CHUNK_BYTES // MIB} MiB", streamed),
    ]


async def mib_per_second(stream: Callable[[], Awaitable[int]]) -> float:
    began = time.perf_counter()
    received = await stream()
    assert received == CHUNKS * CHUNK_BYTES
    return received / MIB / (time.perf_counter() - began)


def _row(what: str, rounds: list[dict[str, float]]) -> Row:
    return Row(
        what=what,
        figure=median(each["routed"] for each in rounds),
        unit="MiB/s",
        baseline=median(each["direct"] for each in rounds),
        against="direct grpc.aio",
        value=median(each["routed"] / each["direct"] for each in rounds),
        target=Target("≥", LEAST),
    )
