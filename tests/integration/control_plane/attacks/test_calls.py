"""Single plain calls that are built to be dear, and what is no message: each is refused with a sentence, and nobody else's calls fail."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

from snakepit._wire.channels import LONGEST_BYTES
from snakepit.errors import InvalidArguments, PayloadTooLarge
from snakepit.v1 import common_pb2, pool_pb2, router_pb2, session_pb2
from snakepit_control_plane.servers.rpc import INLINE_BYTES, convert
from support.attack import LONG, MIB, NO_MESSAGE, Plane, attachments, executing, refused
from support.control_plane import Caller, rpc
from support.simulated_agent import POOL

MOST_SAID = 1200
"""Characters of a refusal."""


def nulls(count: int) -> struct_pb2.Struct:
    values = struct_pb2.ListValue.FromString(b"\x0a\x02\x08\x00" * count)
    return struct_pb2.Struct(fields={"values": struct_pb2.Value(list_value=values)})


UNARY: dict[str, tuple[Callable[[], router_pb2.ExecuteRequest], str]] = {
    "attachments": (lambda: executing(payload=attachments(2 * MIB)), "2097152 attachments, 10000 is the most"),
    "values": (lambda: executing(json=nulls(MIB)), "too many values, 250000 values is the most"),
    "metadata": (lambda: executing(metadata={str(n): "" for n in range(100_000)}), "metadata of the call have"),
    "large metadata": (lambda: executing(metadata={"a": LONG}), "65536 is the most"),
    "tool": (lambda: executing(tool=LONG), "65536 is the most"),
    "long pool": (lambda: executing(pool=LONG), "is not a pool's name"),
    "session": (lambda: executing(session_id=LONG), "65536 is the most"),
}


@pytest.mark.parametrize("deed", UNARY)
async def test_a_plain_call_with_too_much_of_a_thing_is_refused(bad: Caller, deed: str) -> None:
    request, sentence = UNARY[deed]
    error = await refused(bad.router.Execute(request()))
    assert isinstance(error, InvalidArguments)
    assert sentence in error.message
    assert len(error.message) < MOST_SAID


async def test_a_tool_or_session_of_a_name_over_the_maximum_is_refused_in_a_short_sentence(bad: Caller) -> None:
    long = "x" * 50_000
    for request in (executing(tool=long), executing(session_id=long)):
        error = await refused(bad.router.Execute(request))
        assert "xxx…'" in error.message
        assert len(error.message) < 500
    error = await refused(bad.sessions.GetSession(session_pb2.GetSessionRequest(pool=POOL, session_id=LONG)))
    assert len(error.message) < 500
    error = await refused(bad.pools.DrainWorker(pool_pb2.DrainWorkerRequest(pool=POOL, worker=LONG)))
    assert len(error.message) < 500


async def test_a_message_over_the_limit_is_not_read(bad: Caller) -> None:
    request = executing(payload=common_pb2.Payload(data=bytes(LONGEST_BYTES)))
    error = await refused(bad.router.Execute(request))
    assert isinstance(error, PayloadTooLarge)


async def test_a_payload_over_max_payload_bytes_is_told_so(bad: Caller) -> None:
    error = await refused(bad.router.Execute(executing(payload=common_pb2.Payload(data=bytes(4 * MIB + 1)))))
    assert "maxPayloadBytes allows 4194304" in error.message


async def test_a_result_of_too_many_values_has_no_json_form_and_its_payload_has(bad: Caller) -> None:
    zeros = json.dumps([0] * 500_000).encode()
    await rpc(bad.sessions.CreateSession(session_pb2.CreateSessionRequest(pool=POOL, session_id="zeros")))
    value = common_pb2.Value(payload=common_pb2.Payload(data=zeros[: len(zeros) // 2].rpartition(b",")[0] + b"]"))
    key = {"pool": POOL, "session_id": "zeros", "key": "k"}
    await rpc(bad.sessions.SetState(session_pb2.SetStateRequest(value=value, **key)))
    found = await rpc(bad.sessions.GetState(session_pb2.GetStateRequest(as_payload=True, **key)))
    assert found.value.payload.data == value.payload.data
    error = await refused(bad.sessions.GetState(session_pb2.GetStateRequest(**key)))
    assert "too many values" in error.message


async def test_a_large_conversion_lets_the_loop_turn() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    count = await convert(INLINE_BYTES + 1, lambda: sum(math.isqrt(n) > 0 for n in range(1_000_000)))
    turning.cancel()
    assert count == 999_999
    assert turns > 10


# ---- what is no message

UNREADABLE = {
    "RouterService/Execute": "unary",
    "RouterService/ExecuteStream": "stream",
    "PoolService/GetPool": "unary",
    "SessionService/GetState": "unary",
    "ToolService/ListTools": "unary",
    "LinkService/Link": "both",
    "FleetService/Sync": "both",
    "/grpc.health.v1.Health/Check": "unary",
    "/grpc.health.v1.Health/Watch": "stream",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "both",
}


@pytest.mark.parametrize("method", UNREADABLE)
async def test_what_is_no_message_is_an_invalid_argument_and_no_line_of_the_log(
    server: Plane, channel: grpc.aio.Channel, method: str
) -> None:
    path = method if method.startswith("/") else f"/snakepit.v1.{method}"
    before = len(server.lines)
    for _ in range(20):
        assert await code(channel, path, UNREADABLE[method]) is grpc.StatusCode.INVALID_ARGUMENT
    assert len(server.lines) - before <= 1


async def code(channel: grpc.aio.Channel, path: str, kind: str) -> grpc.StatusCode:
    call: Any
    if kind == "unary":
        call = channel.unary_unary(path)(NO_MESSAGE)
    elif kind == "stream":
        call = channel.unary_stream(path)(NO_MESSAGE)
    else:
        call = channel.stream_stream(path)()
        await call.write(NO_MESSAGE)
    async with asyncio.timeout(20):
        found: grpc.StatusCode = await call.code()
    return found
