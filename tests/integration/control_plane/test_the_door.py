"""No way into a replica leads past the door: not by an RPC, not by a frame, and not by what somebody else has made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from snakepit import Client as SdkClient
from snakepit._ipc.callers import read
from snakepit.errors import PermissionDenied
from snakepit.v1 import common_pb2, link_pb2, tool_pb2
from snakepit_control_plane.policy.rights import CALL, LOOK, OFFER
from snakepit_control_plane.server import SERVICES, Running
from snakepit_control_plane.servers import offers
from support.bare_client import Client, bare_client
from support.callers import ADA, BOB, known_agent, put, token
from support.control_plane import Caller, eventually
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent
from support.simulated_tools import payload

OPEN = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
"""What they say is the same for everybody, and nothing of pools."""

METHODS = [method for service in SERVICES.values() for method in service.methods if service.full_name not in OPEN]


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


@pytest.fixture
async def ada(server: Running, agent: SimulatedAgent, asks: Reviewer) -> AsyncIterator[Client]:
    asks.give(ADA, CALL, OFFER)
    async with bare_client(server.address, token(ADA)) as made:
        yield made


@pytest.fixture
async def bob(server: Running, agent: SimulatedAgent, asks: Reviewer) -> AsyncIterator[Client]:
    asks.give(BOB, CALL, OFFER, LOOK)
    async with bare_client(server.address, token(BOB)) as made:
        yield made


async def answer(channel: grpc.aio.Channel, method: MethodDescriptor, bearer: str, pool: str) -> grpc.StatusCode:
    """What becomes of a request about a pool, or of a hello."""
    request: Any = link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT))])
    if method.name != "Link":
        request = GetMessageClass(method.input_type)()
        if "pool" in method.input_type.fields_by_name:
            request.pool = pool
    rpc = channel.stream_stream(f"/{method.containing_service.full_name}/{method.name}")(
        metadata=(("authorization", f"Bearer {bearer}"),) if bearer else (), timeout=10
    )
    try:
        await rpc.write(request.SerializeToString())
        await rpc.read()
        if method.name == "Link":
            return grpc.StatusCode.OK
        await rpc.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass
    code: grpc.StatusCode = await rpc.code()
    return code


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_every_rpc_asks_who_calls_before_it_says_anything_of_pools_and_then_what_they_may(
    server: Running, agent: SimulatedAgent, method: MethodDescriptor
) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        for pool in (POOL, "no/such", "no pool's name"):
            assert await answer(channel, method, "", pool) is grpc.StatusCode.UNAUTHENTICATED
        known = await answer(channel, method, token(ADA), POOL)
    # Lists are of what one may see, a link is asked for each pool; what is one's own anybody known may know, and how a replica is.
    harmless = dict.fromkeys(("ListPools", "Link", "WhoAmI", "ListRights", "GetReplica"), "OK")
    assert known.name == harmless.get(method.name, "PERMISSION_DENIED")


async def nested(agent: SimulatedAgent, call: link_pb2.Call, **fields: Any) -> link_pb2.Result:
    """What comes of a call that the tool of `call` makes."""
    assert agent.replica is not None
    id_ = agent.replica.link.next_id()
    inner = link_pb2.Call(id=id_, call_id=f"nested-{id_}", tool="echo", arguments=payload({}), **fields)
    agent.send(nested_call=link_pb2.NestedCall(parent=call.id, call=inner))
    results = await eventually(lambda: [each.result for each in agent.frames if each.result.id == id_], "the nested call is answered")
    return results[0]


async def test_a_tool_calls_another_pool_as_its_caller_who_needs_the_right_to(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path
) -> None:
    others = "default/others"
    asks.give(ADA, CALL, on=POOL)
    async with (
        known_agent(server.address, tmp_path, others, "others-0") as other,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        caller = Caller(channel, token(ADA))
        calling = caller.start("hang")
        await eventually(lambda: agent.calls, "the outer call runs")
        refused = await nested(agent, agent.calls[0], pool=others)
        assert refused.error.reason == "PERMISSION_DENIED"
        assert f"may not create snakepools/call of pool {others}" in refused.error.message
        assert not other.calls
        asks.give(ADA, CALL, on=others)
        server.door.access.forget()
        assert (await nested(agent, agent.calls[0], pool=others)).HasField("payload")
        assert read(other.calls[0].identity)[0] == ADA
        asks.answers.clear()
        server.door.access.forget()
        before = len(asks.asked)
        waiting = asyncio.create_task(nested(agent, agent.calls[0], pool=others))
        await eventually(lambda: len(asks.asked) > before, "the right is asked for again")
        calling.cancel()
        await eventually(lambda: agent.cancelled, "the outer call has ended")
        asks.answers.set()
        assert (await waiting).error.reason == "CANCELLED"
        assert len(other.calls) == 1


# ---- tools that clients offer


async def offered(client: Client, tool: str, provider: str = "p") -> common_pb2.Error | None:
    """What a replica has against it."""
    assert client.replica is not None
    before = len(client.heard)
    offer = link_pb2.Offer(id=1, provider=provider, pool=POOL, tools=[common_pb2.Tool(name=tool)])
    client.replica.link.send(link_pb2.Frame(offer=offer))
    replies = await eventually(
        lambda: [each.offer_reply for each in client.heard[before:] if each.WhichOneof("kind") == "offer_reply"], "the offer is answered"
    )
    return replies[0].error if replies[0].HasField("error") else None


async def listed(server: Running) -> set[str]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel, token(BOB))
        request = tool_pb2.ListToolsRequest(pool=POOL)
        return {each.name for each in (await caller.tools.ListTools(request, metadata=caller.metadata)).tools}


async def test_nobody_takes_away_what_another_one_offers_under_a_name_of_theirs(server: Running, ada: Client, bob: Client) -> None:
    assert await offered(ada, "hint", provider="same") is None
    assert await offered(bob, "other", provider="same") is None
    assert {"hint", "other"} <= await listed(server)


async def test_tools_of_a_client_that_may_not_offer_them_any_more_are_withdrawn_and_it_is_told(
    server: Running, ada: Client, bob: Client, asks: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "LOOK_AGAIN_SECONDS", 0.05)
    assert await offered(ada, "hint") is None
    asks.take(ADA, OFFER)
    server.door.access.forget()

    async def gone() -> bool:
        return "hint" not in await listed(server)

    await eventually(gone, "it is gone")

    def told() -> list[str]:
        return [each.offer_reply.error.reason for each in ada.heard if each.offer_reply.HasField("error")]

    await eventually(told, "its client is told")
    assert told() == [PermissionDenied.reason]


async def test_a_client_whose_offer_was_withdrawn_offers_it_again_as_soon_as_it_may(
    server: Running, agent: SimulatedAgent, bob: Client, asks: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "LOOK_AGAIN_SECONDS", 0.05)
    asks.give(ADA, CALL, OFFER)

    async def is_on_offer(wanted: bool) -> None:
        async def looks() -> bool:
            return ("told" in await listed(server)) is wanted

        await eventually(looks, f"is it on offer? {wanted}")

    def told() -> int:
        return 1

    async with SdkClient(server.address, token_file=put(tmp_path / "ada", token(ADA))) as client, client.offer([told], pool=POOL):
        await is_on_offer(True)
        asks.take(ADA, OFFER)
        server.door.access.forget()
        await is_on_offer(False)
        asks.give(ADA, OFFER)
        server.door.access.forget()
        await is_on_offer(True)


async def test_a_call_is_nested_in_a_call_to_its_own_clients_tool_alone(
    server: Running, ada: Client, bob: Client, agent: SimulatedAgent
) -> None:
    """Else it would be within the turn of somebody else's session."""
    assert await offered(ada, "hint") is None
    outer = ada.call("hang")
    await eventually(lambda: agent.calls, "a call runs")
    inner = link_pb2.Call(id=9, call_id="of-the-tool", tool="hint", arguments=payload({}))
    agent.send(nested_call=link_pb2.NestedCall(parent=agent.calls[0].id, call=inner))
    await eventually(lambda: [each for each in ada.heard if each.call.tool == "hint"], "the client runs its tool")
    pool = server.flow.pools[POOL]
    for client, depth in ((bob, 0), (ada, 2)):
        client.call("echo", parent_call_id="of-the-tool")
        waiting = await eventually(lambda: [each for each in pool.queue.anybody if each.tool == "echo"], "it waits for the one slot")
        assert waiting[-1].message.depth == depth
        server.flow.calls.cancel(waiting[-1])
    assert outer
