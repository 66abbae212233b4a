"""What strangers are refused leaves next to nothing for collections of garbage, in which nobody is served: they would choose when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import pytest

from snakepit.v1 import link_pb2, link_pb2_grpc, session_pb2, session_pb2_grpc
from support.attack import ByHand, Plane, executing, refused
from support.control_plane import Caller, eventually

TIMES = 300
MOST_OBJECTS = 12
"""Of each refusal: half of them are grpcio's own, of every RPC. Of an error that holds the frames it went through there were fifty."""


async def an_unknown_pool(channel: grpc.aio.Channel) -> None:
    await refused(Caller(channel).router.Execute(executing(pool="nobody/knows")))


async def an_unknown_tool(channel: grpc.aio.Channel) -> None:
    await refused(Caller(channel).router.Execute(executing(tool="nobody_knows")))


async def a_call_of_an_unknown_session(channel: grpc.aio.Channel) -> None:
    await refused(Caller(channel).router.Execute(executing(session_id="nobody-knows")))


async def an_unknown_session(channel: grpc.aio.Channel) -> None:
    asked = session_pb2.GetSessionRequest(pool="default/sample", session_id="nobody-knows")
    await refused(session_pb2_grpc.SessionServiceStub(channel).GetSession(asked))


async def a_link_without_a_hello(channel: grpc.aio.Channel) -> None:
    stream = link_pb2_grpc.LinkServiceStub(channel).Link()
    await stream.write(link_pb2.LinkRequest())
    await refused(stream.read())


REFUSALS = (an_unknown_pool, an_unknown_tool, a_call_of_an_unknown_session, an_unknown_session, a_link_without_a_hello)


@pytest.mark.parametrize("deed", REFUSALS)
async def test_a_refusal_leaves_a_few_objects(
    server: Plane, channel: grpc.aio.Channel, deed: Callable[[grpc.aio.Channel], Awaitable[None]]
) -> None:
    await deed(channel)
    before = server.garbage
    for _ in range(TIMES):
        await deed(channel)
    assert (server.garbage - before) / TIMES < MOST_OBJECTS


async def test_a_call_under_a_key_leaves_as_few(server: Plane, channel: grpc.aio.Channel) -> None:
    router = Caller(channel).router
    before = server.garbage
    for number in range(TIMES):
        await router.Execute(executing(idempotency_key=f"key {number}"))
    assert (server.garbage - before) / TIMES < MOST_OBJECTS


async def test_a_bulk_lane_that_is_hung_up_leaves_none(server: Plane, channel: grpc.aio.Channel) -> None:
    link = await ByHand(channel).open(lane=True)
    with link.lane():
        opened = server.figures()["descriptors"]
        before = server.garbage
        for _ in range(TIMES):
            (await asyncio.to_thread(link.lane, link.welcome.lane.bulk_ticket)).close()
        await eventually(lambda: server.figures()["descriptors"] <= opened)
    assert (server.garbage - before) / TIMES < MOST_OBJECTS
