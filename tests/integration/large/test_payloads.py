"""Large payloads and streams: the SDK, a real control plane, the agent, the keeper and real workers."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import grpc
import numpy
import pytest

import snakepit
from snakepit.errors import InvalidArguments, PayloadTooLarge, Started, ToolError
from snakepit.v1 import common_pb2
from snakepit_control_plane.server import Running
from support.capsules import capsule, ready, spec
from support.control_plane import Caller, calling, replica
from support.large import MIB, POOL, SAMPLE, go_on

pytestmark = [pytest.mark.timeout(150), pytest.mark.usefixtures("nothing_is_left")]


async def test_64_mib_go_in_and_out_and_a_byte_more_is_refused_with_the_limits_name(pool: snakepit.Pool) -> None:
    content = bytes(range(256)) * (64 * MIB // 256)
    assert await pool.call("echo", {"value": content}, timeout=30) == content
    with pytest.raises(PayloadTooLarge) as refused:
        await pool.call("echo", {"value": content + b"x"}, timeout=30)
    assert refused.value.details == {"limit": "maxLargePayloadBytes", "bytes": str(64 * MIB)}


async def test_arrays_arrive_as_read_only_views(pool: snakepit.Pool) -> None:
    array = numpy.arange(MIB, dtype=numpy.float64).reshape(1024, 1024)
    total, owns, writeable = await pool.call("inspect", {"array": array}, timeout=30)
    assert (total, owns, writeable) == (float(array.sum()), False, False)


async def test_a_small_call_may_have_a_large_result_and_the_other_way_round(pool: snakepit.Pool) -> None:
    assert await pool.call("make", {"size": 3 * MIB}, timeout=30) == bytes(3 * MIB)
    assert await pool.call("size", {"value": bytes(3 * MIB)}, timeout=30) == 3 * MIB


@pytest.mark.parametrize("key", [None, "far"], ids=["without a key", "with a key"])
@pytest.mark.parametrize("result", [1, MIB], ids=["small result", "large result"])
@pytest.mark.parametrize("arguments", [1, MIB], ids=["small arguments", "large arguments"])
async def test_callers_hear_how_far_a_call_is_however_its_values_travel(
    pool: snakepit.Pool, arguments: int, result: int, key: str | None
) -> None:
    said: list[tuple[float, str]] = []
    given = {"size": result, "steps": 4, "unused": bytes(arguments)}
    answer = await pool.call("report", given, timeout=30, idempotency_key=key, on_progress=lambda *news: said.append(news))
    assert len(answer) == result
    assert said == [(0.25, "step 1"), (0.5, "step 2"), (0.75, "step 3"), (1.0, "step 4")]


async def test_who_reads_a_stream_hears_how_far_it_is_while_waiting_for_its_chunks(pool: snakepit.Pool, tmp_path: Path) -> None:
    said, sizes = list[tuple[float, str]](), [1, 3 * MIB, 1, MIB]
    given = {"sizes": sizes, "path": str(tmp_path / "step")}
    chunks = pool.stream("awaited", given, timeout=30, on_progress=partial(go_on, tmp_path, said))
    assert [len(chunk) async for chunk in chunks] == sizes
    assert said == [(0.25, "step 1"), (0.5, "step 2"), (0.75, "step 3"), (1.0, "step 4")]


@pytest.mark.parametrize("size", [1, MIB], ids=["small", "large"])
async def test_what_a_tool_says_right_before_the_end_of_its_stream_is_heard(pool: snakepit.Pool, size: int) -> None:
    """Chunks and progress travel by ways of their own, which race."""

    async def heard() -> list[str]:
        said = list[str]()
        chunks = pool.stream("finishing", {"size": size}, timeout=30, on_progress=lambda _, message: said.append(message))
        assert [len(chunk) async for chunk in chunks] == [size]
        return said

    for _ in range(10):
        assert await asyncio.gather(*[heard() for _ in range(10)]) == [["done"]] * 10


@pytest.mark.parametrize("arguments", [1, MIB], ids=["on the link", "on a bulk lane"])
async def test_an_exception_in_on_progress_is_logged_and_costs_nothing_else(
    pool: snakepit.Pool, caplog: pytest.LogCaptureFixture, arguments: int
) -> None:
    other = asyncio.create_task(pool.call("make", {"size": 3 * MIB}, timeout=30))
    given = {"size": 1, "steps": 2, "unused": bytes(arguments)}
    assert await pool.call("report", given, timeout=30, on_progress=lambda *news: 1 / 0) == bytes(1)
    assert len(await other) == 3 * MIB
    assert caplog.text.count("on_progress raised") == 2


async def test_large_chunks_and_small_ones_arrive_in_order(pool: snakepit.Pool) -> None:
    sizes = [10, 300_000, 20, 5 * MIB, 0, MIB]
    chunks = [chunk async for chunk in pool.stream("chunks", {"sizes": sizes}, timeout=30)]
    assert [len(chunk) for chunk in chunks] == sizes


async def test_a_stream_takes_large_arguments_and_an_exception_in_it_arrives_as_itself(pool: snakepit.Pool) -> None:
    stream = pool.stream("slices", {"value": bytes(2 * MIB), "fail_at": 3}, timeout=30)
    assert [len(await anext(stream)) for _ in range(3)] == [MIB // 2] * 3
    with pytest.raises(ToolError, match="no more"):
        await anext(stream)


async def test_more_than_the_limit_is_refused_with_the_limits_name() -> None:
    async with (
        replica(max_large_payload_bytes=MIB) as server,
        capsule(spec(SAMPLE), server, pool=POOL),
        snakepit.Client(server.address) as client,
    ):
        pool = await ready(client.pool(POOL))
        with pytest.raises(PayloadTooLarge) as refused:
            await pool.call("echo", {"value": bytes(MIB + 1)}, timeout=30)
        assert (refused.value.details["limit"], refused.value.started) == ("maxLargePayloadBytes", Started.NO)
        with pytest.raises(PayloadTooLarge) as refused:
            await pool.call("make", {"size": MIB + 1}, timeout=30)
        assert (refused.value.details["limit"], refused.value.started) == ("maxLargePayloadBytes", Started.YES)
        assert len(await pool.call("make", {"size": MIB}, timeout=30)) == MIB


async def test_a_plain_call_takes_4_mib_each_way_and_more_is_refused_with_the_limits_name(server: Running, pool: snakepit.Pool) -> None:
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.max_receive_message_length", 8 * MIB)]) as channel:
        caller = Caller(channel)
        arguments = common_pb2.Payload(data=b'{"value": {"$attachment": 0}}', attachments=[common_pb2.Attachment(data=bytes(3 * MIB))])
        answer = await caller.plain("echo", arguments)
        assert answer.payload.attachments[0].data == bytes(3 * MIB)
        arguments.attachments[0].data = bytes(4 * MIB)
        with pytest.raises(PayloadTooLarge) as refused:
            await caller.plain("size", arguments)
        assert (refused.value.details["limit"], refused.value.started) == ("maxPayloadBytes", Started.NO)
        with pytest.raises(PayloadTooLarge) as refused:
            await caller.plain("make", common_pb2.Payload(data=b'{"size": 5000000}'))
        assert (refused.value.details["limit"], refused.value.started) == ("maxPayloadBytes", Started.YES)
        chunks = caller.stream("chunks", {"sizes": [10]}, pool=POOL)
        assert [chunk.last async for chunk in chunks][-1]


# ---- under an idempotency key


async def test_large_arguments_are_told_apart_and_sent_once(pool: snakepit.Pool) -> None:
    one, other = bytes(2 * MIB), bytes(2 * MIB - 1) + b"x"
    assert await pool.call("size", {"value": one}, idempotency_key="large", timeout=30) == 2 * MIB
    assert await pool.call("size", {"value": one}, idempotency_key="large", timeout=30) == 2 * MIB
    with pytest.raises(InvalidArguments, match="was used for another call"):
        await pool.call("size", {"value": other}, idempotency_key="large", timeout=30)


async def test_a_result_between_the_limits_is_kept(pool: snakepit.Pool) -> None:
    for _ in range(2):
        assert await pool.call("make", {"size": MIB // 2}, idempotency_key="medium", timeout=30) == bytes(MIB // 2)


@pytest.mark.parametrize("with_large_arguments", [False, True])
async def test_a_large_result_goes_to_its_first_caller_alone(pool: snakepit.Pool, with_large_arguments: bool) -> None:
    content = bytes(16 * MIB)
    tool, arguments = ("echo", {"value": content}) if with_large_arguments else ("make", {"size": len(content)})
    assert await pool.call(tool, arguments, idempotency_key="huge", timeout=30) == content
    with pytest.raises(PayloadTooLarge, match="the call has run") as repeated:
        await pool.call(tool, arguments, idempotency_key="huge", timeout=30)
    assert repeated.value.started is Started.YES


async def test_plain_grpc_has_keys_for_large_arguments_too(server: Running, pool: snakepit.Pool) -> None:
    async with calling(server.address) as caller:
        for _ in range(2):
            response = await caller.call("size", {"value": "x" * MIB}, pool=POOL, idempotency_key="plain", timeout=30)
            assert response.json.number_value == MIB
        with pytest.raises(InvalidArguments, match="was used for another call"):
            await caller.call("size", {"value": "y" * MIB}, pool=POOL, idempotency_key="plain", timeout=30)
