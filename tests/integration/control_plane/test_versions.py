"""Ends of different versions: a release's agent at this control plane, this agent and SDK at a release's control plane, and ends from the
future. Old ends speak the descriptors in proto/released; new ones send frames and fields that nobody here has heard of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from snakepit import Client, ProtocolMismatch
from snakepit._wire.protocol import NEWEST, OLDEST, Range, agreed, said
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import Caller, eventually
from support.released import RELEASES, Contract
from support.replica import Replica, replica
from support.simulated_agent import POOL, settings, simulated_agent

LINK = "/snakepit.v1.LinkService/Link"
PIPE = "/snakepit.v1.LinkService/Pipe"
SECONDS = 10.0
UNKNOWN_FIELD = b"\xfa\x3e\x03new"
"""Field 1007, which no message has, with a text."""


@pytest.fixture(params=RELEASES)
def contract(request: pytest.FixtureRequest) -> Contract:
    return Contract(request.param)


# ---- an agent of a release at this control plane


class OldAgent:
    """What the agent of a release does, in its own messages: it refuses a Welcome of another protocol, and echoes calls."""

    def __init__(self, contract: Contract, channel: grpc.aio.Channel) -> None:
        self.contract = contract
        self.frames: list[Any] = []
        self.answered = 0
        self._channel = channel
        self._rpc: Any = channel.stream_stream(
            LINK, request_serializer=lambda message: message.SerializeToString(), response_deserializer=contract("LinkResponse").FromString
        )()

    async def send(self, **frame: Any) -> None:
        await self._rpc.write(self.contract("LinkRequest")(frames=[self.contract("Frame")(**frame)]))

    async def link(self) -> None:
        new = self.contract
        pool = new("PoolSettings").FromString(settings().SerializeToString())
        await self.send(
            hello=new("Hello")(
                protocol=1, role=2, version="old", capsule=new("Capsule")(name="old-0", incarnation="i", pool=POOL, settings=pool)
            )
        )
        first = await self._rpc.read()
        assert first.frames[0].welcome.protocol == 1
        await self.send(offer=new("Offer")(tools=[new("Tool")(name="echo", input_schema="{}")]))
        worker = new("Worker")(id="old-0/0", incarnation="w", state=2, slots=1, pid=1)
        await self.send(report=new("Report")(sequence=1, workers=[worker]))

    async def serve(self) -> None:
        while (message := await self._rpc.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            for frame in message.frames:
                self.frames.append(frame)
                if frame.WhichOneof("kind") == "call":
                    call = frame.call
                    if call.stream:
                        await self._pipe(call)
                    names = {"id": call.id, "call_id": call.call_id, "worker": call.worker, "incarnation": call.incarnation}
                    await self.send(result=self.contract("Result")(payload=call.arguments, run_seconds=0.001, **names))
                    self.answered += 1

    async def _pipe(self, call: Any) -> None:
        """The call's arguments, twice, as chunks; then the end."""
        new = self.contract
        chunks = [*(new("Chunk")(index=index, payload=call.arguments) for index in range(2)), new("Chunk")(index=2, last=True)]
        rpc: Any = self._channel.stream_stream(
            PIPE, request_serializer=lambda message: message.SerializeToString(), response_deserializer=new("PipeResponse").FromString
        )()
        first = {"id": call.id, "capsule_incarnation": "i"}
        for chunk in chunks:
            await rpc.write(new("PipeRequest")(chunks=[chunk], **first))
            await rpc.read()
            first = {}
        await rpc.done_writing()


@pytest.fixture
async def old_agent(server: Running, contract: Contract) -> AsyncIterator[OldAgent]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        agent = OldAgent(contract, channel)
        await agent.link()
        serving = asyncio.create_task(agent.serve())
        await eventually(lambda: POOL in server.router.pools and server.router.pools[POOL].workers)
        yield agent
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_an_agent_of_a_release_serves_calls_at_this_control_plane(caller: Caller, old_agent: OldAgent) -> None:
    for value in range(3):
        assert (await caller.call("echo", {"value": value})).json.struct_value["value"] == value
    assert old_agent.answered == 3


async def test_an_agent_of_a_release_streams_at_this_control_plane(caller: Caller, old_agent: OldAgent) -> None:
    chunks = [chunk async for chunk in caller.stream("echo", {"value": 7})]
    assert [chunk.json.struct_value["value"] for chunk in chunks if chunk.HasField("json")] == [7, 7]
    assert chunks[-1].last


async def test_an_agent_of_a_release_serves_sessions_at_this_control_plane_and_lets_them_move(caller: Caller, old_agent: OldAgent) -> None:
    await caller.create("s")
    for _ in range(2):
        assert (await caller.call("echo", session_id="s")).worker == "old-0/0"
    epoch = (await caller.session("s")).epoch
    await caller.rebind("s")
    assert (await caller.call("echo", session_id="s")).worker == "old-0/0"
    assert (await caller.session("s")).epoch > epoch
    assert [frame.call.session_id for frame in old_agent.frames if frame.WhichOneof("kind") == "call"] == ["s"] * 3


# ---- this agent, and this SDK, at the control plane of a release


class OldControlPlane(grpc.GenericRpcHandler):
    """What a release's control plane does at a hello, in its own messages: it compares protocols for equality. Then it calls `echo`."""

    def __init__(self, contract: Contract, tool: str = "echo") -> None:
        self.contract = contract
        self.results: list[Any] = []
        self.kinds: list[str | None] = []
        self._tool = tool
        self._called = False

    def service(self, details: Any) -> Any:
        if details.method != LINK:
            return None
        return grpc.stream_stream_rpc_method_handler(
            self.link, self.contract("LinkRequest").FromString, lambda message: message.SerializeToString()
        )

    async def link(self, requests: Any, context: Any) -> None:
        new = self.contract
        async for request in requests:
            for frame in request.frames:
                self.kinds.append(frame.WhichOneof("kind"))
                if self.kinds[-1] == "hello":
                    assert frame.hello.protocol == 1, "a release refuses this hello"
                    welcome = new("Welcome")(protocol=1, replica="old", max_payload_bytes=4 << 20)
                    await context.write(new("LinkResponse")(frames=[new("Frame")(welcome=welcome)]))
                elif self.kinds[-1] == "result":
                    self.results.append(frame.result)
                elif self.kinds[-1] == "call":  # of an SDK
                    result = new("Result")(id=frame.call.id, call_id=frame.call.call_id, payload=frame.call.arguments)
                    await context.write(new("LinkResponse")(frames=[new("Frame")(result=result)]))
                elif self.kinds[-1] == "report":
                    await self._call(frame.report, context)

    async def _call(self, report: Any, context: Any) -> None:
        ready = [worker for worker in report.workers if worker.state == 2]
        if not ready or self._called:
            return
        self._called = True
        arguments = self.contract("Payload")(content_type="application/json", data=b'{"value":7}')
        call = self.contract("Call")(
            id=1, call_id="c1", tool=self._tool, arguments=arguments, worker=ready[0].id, incarnation=ready[0].incarnation
        )
        await context.write(self.contract("LinkResponse")(frames=[self.contract("Frame")(call=call)]))


@contextlib.asynccontextmanager
async def serving(handler: grpc.GenericRpcHandler) -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_this_agent_serves_calls_of_a_releases_control_plane(contract: Contract) -> None:
    old = OldControlPlane(contract)
    async with serving(old) as port, capsule(spec("support.sample:Sample"), port):
        await eventually(lambda: old.results)
        assert old.results[0].payload.data == b"7"


async def test_this_sdk_calls_through_a_releases_control_plane(contract: Contract) -> None:
    async with serving(OldControlPlane(contract)) as port, Client(f"127.0.0.1:{port}") as client:
        assert await client.pool("any").call("echo", {"value": 7}, timeout=SECONDS) == {"value": 7}


# ---- ends of a version that isn't there yet


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
    async with replica() as server, capsule(spec("support.sample:Sample"), server.port):
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
    ids=["a release and us", "newer", "newest of both", "older", "inside"],
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
