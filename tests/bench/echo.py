"""The adapter of the benchmarks."""

import asyncio
import time
from collections.abc import Iterator

from snakepit import Adapter, AsyncContext, tool


class Echo(Adapter):
    """As little work as a tool can do."""

    @tool
    def echo(self, text: str) -> str:
        """Give back what came."""
        return text

    @tool
    def mirror(self, data: bytes) -> bytes:
        """Give back what came."""
        return data

    @tool
    def pour(self, chunks: int, size: int) -> Iterator[bytes]:
        """So many chunks of that many bytes."""
        for _ in range(chunks):
            yield bytes(size)

    @tool
    def wait(self, seconds: float) -> None:
        """Hold the worker for so long, without using the CPU."""
        time.sleep(seconds)

    @tool
    def spell(self, seconds: float) -> tuple[float, float]:
        """Wait, and say from when to when: CLOCK_MONOTONIC seconds, which the processes of a machine share."""
        began = time.monotonic()
        time.sleep(seconds)
        return began, time.monotonic()

    @tool
    async def swap(self, seconds: float, in_flight: int, *, ctx: AsyncContext) -> float:
        """Compare-and-sets a second of the session's state: so many keys side by side, each with one at a time."""
        counts = [0] * in_flight
        began = time.perf_counter()
        end = began + seconds

        async def one(number: int) -> None:
            key = f"key-{number}"
            _, version = await ctx.state.get_versioned(key)
            while time.perf_counter() < end:
                assert await ctx.state.compare_and_set(key, counts[number], version)
                version += 1
                counts[number] += 1

        await asyncio.gather(*(one(number) for number in range(in_flight)))
        return sum(counts) / (time.perf_counter() - began)
