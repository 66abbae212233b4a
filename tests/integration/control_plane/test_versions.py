"""Ends of different versions: newer ones send frames and fields that nobody here has heard of, and protocols are agreed upon."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest

from snakepit import Client, ProtocolMismatch
from snakepit._wire.protocol import NEWEST, OLDEST, Range, agreed, said
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import Caller, eventually
from support.replica import Replica, replica
from support.simulated_agent import POOL, simulated_agent

LINK = "/snakepit.v1.LinkService/Link"
SECONDS = 10.0
UNKNOWN_FIELD = b"\xfa\x3e\x03new"
"""Field 1007, which no message has, with a text."""


def passed_over(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "passed over" in record.message]


async def test_frames_and_fields_of_a_newer_agent_are_passed_over_with_one_line(
    server: Running, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with simulated_agent(server.address) as agent:
        assert agent.replica is not None
        link = agent.replica.link
        for _ in range(5):
            link.send(link_pb2.Frame.FromString(UNKNOWN_FIELD))
        assert (await caller.call("echo", {"value": 1})).json.struct_value["value"] == 1
        await eventually(lambda: passed_over(caplog))
    (line,) = passed_over(caplog)
    assert "capsule-0" in line
    assert "number 1007" in line


async def test_a_newer_hello_is_answered_with_the_newest_protocol_of_both(server: Running) -> None:
    hello = link_pb2.Hello(protocol=OLDEST, newest_protocol=NEWEST + 5, role=link_pb2.ROLE_CLIENT)
    hello.MergeFromString(UNKNOWN_FIELD)
    async with grpc.aio.insecure_channel(server.address) as channel:
        rpc: Any = channel.stream_stream(
            LINK, request_serializer=link_pb2.LinkRequest.SerializeToString, response_deserializer=link_pb2.LinkResponse.FromString
        )()
        await rpc.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
        async with asyncio.timeout(SECONDS):
            welcome = (await rpc.read()).frames[0].welcome
        assert welcome.protocol == NEWEST
        assert welcome.version
        rpc.cancel()


async def test_frames_of_a_newer_control_plane_are_passed_over_by_the_agent_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with replica() as server, capsule(spec("support.sample:Sample"), server):
        worker = await ready(server)
        for _ in range(5):
            server.send(link_pb2.Frame.FromString(UNKNOWN_FIELD))
        assert await server.value(server.call(worker, "echo", {"value": 1})) == 1
    (line,) = passed_over(caplog)
    assert "number 1007" in line


async def ready(server: Replica) -> Any:
    def workers() -> Any:
        reports = [frame.report for frame in server.frames if frame.WhichOneof("kind") == "report"]
        return [worker for report in reports[-1:] for worker in report.workers if worker.state == 2]

    return (await server.until(workers))[0]


async def test_frames_of_a_newer_control_plane_are_passed_over_by_the_sdk_with_one_line(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with simulated_agent(server.address), Client(server.address) as client:
        assert await client.pool(POOL).call("echo", {"value": 1}, timeout=SECONDS) == {"value": 1}
        (link,) = [link for link, peer in server.links.links.items() if peer.role == "client"]
        for _ in range(5):
            link.send(link_pb2.Frame.FromString(UNKNOWN_FIELD))
        assert await client.pool(POOL).call("echo", {"value": 2}, timeout=SECONDS) == {"value": 2}
    (line,) = passed_over(caplog)
    assert "number 1007" in line


# ---- ranges


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [((1, 0), (1, 1), 1), ((1, 3), (1, 2), 2), ((2, 3), (1, 2), 2), ((1, 2), (2, 3), 2), ((3, 3), (1, 5), 3)],
    ids=["only one", "newer", "newest of both", "older", "inside"],
)
def test_ends_speak_the_newest_protocol_of_both(theirs: tuple[int, int], ours: tuple[int, int], expected: int) -> None:
    assert agreed(said(*theirs), "the agent", ours=Range(*ours)) == expected


@pytest.mark.parametrize(
    ("theirs", "ours", "sentence"),
    [
        ((1, 0), (2, 3), "the agent speaks protocol 1, this control plane protocols 2 to 3: upgrade the agent"),
        ((3, 4), (1, 2), "the agent speaks protocols 3 to 4, this control plane protocols 1 to 2: upgrade this control plane"),
    ],
    ids=["they are older", "we are older"],
)
def test_ends_without_a_protocol_in_common_are_told_which_of_them_to_upgrade(
    theirs: tuple[int, int], ours: tuple[int, int], sentence: str
) -> None:
    with pytest.raises(ProtocolMismatch) as caught:
        agreed(said(*theirs), "the agent", ours=Range(*ours))
    assert str(caught.value) == sentence
