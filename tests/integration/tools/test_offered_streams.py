"""Tools that clients offer, and that stream: to their end, no further than they are read, and until they are told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

import snakepit
from snakepit import Client, Pool
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.server import Running
from support import bare_client as bare
from support.bare_client import bare_client
from support.control_plane import eventually
from support.simulated_tools import payload


def numbers(to: int) -> Iterator[int]:
    yield from range(to)


async def letters(to: int) -> AsyncIterator[str]:
    for i in range(to):
        yield "abcdefgh"[i]


async def test_a_generator_streams_to_the_worker_and_is_a_list_where_one_value_is_asked_for(client: Client, pool: Pool) -> None:
    async with client.offer([numbers, letters], pool=pool):
        for tool in ("stream", "stream_later"):
            assert [n async for n in pool.stream(tool, {"name": "numbers", "arguments": {"to": 100}}, timeout=15)] == list(range(100))
            assert [n async for n in pool.stream(tool, {"name": "letters", "arguments": {"to": 3}}, timeout=15)] == ["a", "b", "c"]
        assert await pool.call("ask", {"name": "numbers", "arguments": {"to": 5}}, timeout=10) == [0, 1, 2, 3, 4]
        assert await pool.call("ask", {"name": "letters", "arguments": {"to": 2}}, timeout=10) == ["a", "b"]


async def test_a_stream_of_a_plain_tool_has_one_chunk(client: Client, pool: Pool) -> None:
    def add(a: int, b: int = 1) -> int:
        return a + b

    async with client.offer(add, pool=pool):
        assert [n async for n in pool.stream("stream", {"name": "add", "arguments": {"a": 1}}, timeout=15)] == [2]


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
async def test_a_worker_that_takes_no_more_stops_the_clients_generator_and_little_is_made_ahead(
    client: Client, pool: Pool, blocking: bool
) -> None:
    made: list[int] = []
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    @snakepit.tool(name="endless")
    async def awaited() -> AsyncIterator[bytes]:
        try:
            while True:
                made.append(1)
                yield b"x" * 100_000
        finally:
            closed.set()

    @snakepit.tool(name="endless")
    def plain() -> Iterator[bytes]:
        try:
            while True:
                made.append(1)
                yield b"x" * 100_000
        finally:
            loop.call_soon_threadsafe(closed.set)

    async with client.offer(plain if blocking else awaited, pool=pool):
        assert len(await pool.call("first_of", {"name": "endless"}, timeout=15)) == 100_000
        async with asyncio.timeout(10):
            await closed.wait()
    assert len(made) < 25, "about a window of 1 MiB"


async def test_an_exception_in_mid_stream_arrives_after_the_chunks(client: Client, pool: Pool) -> None:
    def halfway() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    async with client.offer(halfway, pool=pool):
        stream = pool.stream("stream", {"name": "halfway"}, timeout=15)
        assert await anext(stream) == 1
        with pytest.raises(snakepit.ToolError, match="LookupError: no more"):
            await anext(stream)


async def test_a_stream_whose_function_does_not_listen_ends_with_its_next_chunk(client: Client, pool: Pool) -> None:
    ended = asyncio.Event()

    async def deaf() -> AsyncIterator[int]:
        try:
            for number in itertools.count():
                yield number
                if number == 1:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(600)
                elif number > 1:
                    await asyncio.sleep(600)
        finally:
            ended.set()

    async with client.offer(deaf, pool=pool):
        stream = pool.stream("stream", {"name": "deaf"}, timeout=15)
        assert [await anext(stream), await anext(stream)] == [0, 1]
        await stream.aclose()
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_client_that_sends_more_of_a_stream_than_was_asked_for_is_stopped_and_told_why(server: Running, pool: Pool) -> None:
    async with bare_client(server.address) as flood:
        assert flood.replica is not None
        send = flood.replica.link.send
        offered = common_pb2.Tool(name="flood", input_schema="{}", streaming=True)
        send(link_pb2.Frame(offer=link_pb2.Offer(id=1, provider="flood", pool=pool.name, tools=[offered])))
        await eventually(lambda: "offer_reply" in kinds(flood), "it is on offer")
        stream = pool.stream("stream", {"name": "flood"}, timeout=15)
        first = asyncio.create_task(anext(stream))
        await eventually(lambda: "call" in kinds(flood), "it is called")
        (call,) = [frame.call for frame in flood.heard if frame.HasField("call")]
        for _ in range(40):
            send(link_pb2.Frame(flow=link_pb2.Flow(id=call.id, chunk=payload("x" * 100_000))))
        await first
        await eventually(lambda: not server.flow.nested.client_calls, "the replica has given it up, while nobody reads")
        with pytest.raises(snakepit.SnakepitError, match="it must wait for Flow"):
            async for _ in stream:
                pass


def kinds(client: bare.Client) -> list[str | None]:
    return [frame.WhichOneof("kind") for frame in client.heard]
