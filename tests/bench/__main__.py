"""`make bench`: rounds of baseline and product interleaved in one run, medians, a table on the screen and JSON beside it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import uvloop
from rich.console import Console
from rich.table import Table

import snakepit
from snakepit.v1 import common_pb2, router_pb2, router_pb2_grpc

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent.parent / "build/bench.json"
CONCURRENCIES = (1, 16, 64)
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
RUN = uvloop.run if os.environ.get("BENCH_UVLOOP") else asyncio.run
"""With BENCH_UVLOOP both callers and the baseline's server run on uvloop, without it none of them: a program's loop is its own choice."""

ROUND_SECONDS = float(os.environ.get("BENCH_ROUND_SECONDS", "2"))
TEXT = "x" * 86
"""With quotes, key and braces: 100 bytes of JSON."""

Call = Callable[[], Awaitable[object]]


async def calls_per_second(call: Call, concurrency: int) -> float:
    """Closed loop: so many callers, each with one call at a time, for one round."""
    done = 0
    end = time.perf_counter() + ROUND_SECONDS

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return done / (time.perf_counter() - began)


@asynccontextmanager
async def direct() -> AsyncIterator[Call]:
    """A direct unary call of plain grpc.aio."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.direct"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    port = (await asyncio.to_thread(process.stdout.readline)).strip()
    request = router_pb2.ExecuteRequest(
        pool="default/echo", tool="echo", payload=common_pb2.Payload(data=json.dumps({"text": TEXT}).encode())
    )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = router_pb2_grpc.RouterServiceStub(channel)
            yield lambda: stub.Execute(request, timeout=30)
    finally:
        process.stdin.close()
        await asyncio.to_thread(process.wait, 10)
        process.stdout.close()


@asynccontextmanager
async def routed() -> AsyncIterator[Call]:
    """SDK -> control plane -> agent -> one of four one-slot workers, as `snakepit dev` runs them."""
    port = free_port()
    argv = [str(Path(sys.executable).with_name("snakepit")), "dev", str(HERE / "pool.yaml"), "--listen", f"127.0.0.1:{port}"]
    log = (OUTPUT.parent / "bench-dev.log").open("w")
    process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    try:
        async with snakepit.Client(f"127.0.0.1:{port}") as client:
            pool = client.pool("default/echo")
            await until_warm(pool)
            yield lambda: pool.call("echo", {"text": TEXT}, timeout=30)
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.wait, 60)
        log.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_warm(pool: snakepit.Pool) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if sum(w.state == "ready" for w in await pool.workers()) >= 4:
                    return
            except snakepit.SnakepitError:
                pass  # not there yet; the time-out above is the bound
            await asyncio.sleep(0.1)


async def measure() -> list[dict[str, float]]:
    rows = []
    async with direct() as baseline, routed() as product:
        for concurrency in CONCURRENCIES:
            pairs = []
            for number in range(ROUNDS + 1):
                pair = (await calls_per_second(baseline, concurrency), await calls_per_second(product, concurrency))
                if number:  # the first round warms both up
                    pairs.append(pair)
                print(f"concurrency {concurrency}: round {number} of {ROUNDS}: {pair[0]:,.0f} and {pair[1]:,.0f} calls/s", file=sys.stderr)
            rows.append(
                {
                    "concurrency": concurrency,
                    "direct_calls_per_second": round(statistics.median(p[0] for p in pairs)),
                    "routed_calls_per_second": round(statistics.median(p[1] for p in pairs)),
                    "ratio": round(statistics.median(p[1] / p[0] for p in pairs), 2),
                }
            )
    return rows


def show(rows: list[dict[str, float]]) -> None:
    table = Table(title=f"calls/s, echo of 100 bytes; median of {ROUNDS} interleaved rounds of {ROUND_SECONDS:g} s")
    for column in ("concurrent calls", "direct grpc.aio", "through Snakepit", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        figures = (row["concurrency"], f"{row['direct_calls_per_second']:,}", f"{row['routed_calls_per_second']:,}", f"{row['ratio']:.2f}")
        table.add_row(*map(str, figures))
    Console().print(table)


def main() -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    rows = RUN(measure())
    OUTPUT.write_text(json.dumps({"routed_against_direct": rows}, indent=2) + "\n")
    show(rows)
    print(f"JSON: {OUTPUT.relative_to(Path.cwd()) if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT}")


if __name__ == "__main__":
    main()
