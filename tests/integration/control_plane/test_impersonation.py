"""A gateway: one client with one token, whose calls are those of its own callers."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import grpc
import pytest

from snakepit import Client
from snakepit._ipc.callers import read
from snakepit.errors import CallerLimit, InvalidArguments, PermissionDenied, SessionNotFound, ToolError
from snakepit.v1 import link_pb2, link_pb2_grpc
from snakepit_control_plane.policy import rights as policy
from snakepit_control_plane.policy.rights import AS_GROUP, AS_USER, CALL, LOOK
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers import held
from support.callers import GATEWAY, token
from support.control_plane import Caller, eventually, rpc
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent, settings

EVE = "eve@example.com"


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


async def test_each_call_of_one_link_is_that_of_the_caller_whom_it_names(
    server: Running, gateway: Client, agent: SimulatedAgent, asks: Reviewer
) -> None:
    asks.give(GATEWAY, AS_USER)
    asks.give(GATEWAY, AS_GROUP, on="/staff")
    for subject in ("ada", "bob"):
        asks.give(subject, CALL, LOOK)
    ada, bob = gateway.as_caller("ada", groups=["staff"]), gateway.as_caller("bob")
    await asyncio.gather(*[each.pool(POOL).call("echo") for each in (ada, bob) for _ in range(3)])
    with pytest.raises(PermissionDenied, match=f"'{GATEWAY}' may not create snakepools/call"):
        await gateway.pool(POOL).call("echo")
    assert {read(each.identity) for each in agent.calls} == {
        ("ada", ("staff", "system:authenticated")),
        ("bob", ("system:authenticated",)),
    }
    assert len([each for each in server.links.links.values() if each.role == "client"]) == 1
    assert [each async for each in ada.pool(POOL).stream("count", {"to": 2})] == [0, 1]
    with pytest.raises(ToolError):
        await ada.pool(POOL).call("fail", {"a": b"x" * 1_000_000})
    assert read(agent.calls[-1].identity)[0] == "ada"
    assert [each.name for each in await bob.pools()] == [POOL]
    async with ada.pool(POOL).session("hers") as session:
        assert (await session.info()).owner == "ada"
        await session.call("echo")
        for strange in (bob, gateway.as_caller("ada-2")):
            with pytest.raises((SessionNotFound, PermissionDenied)):
                await strange.pool(POOL).session("hers").call("echo")
            with pytest.raises((SessionNotFound, PermissionDenied)):
                await strange.pool(POOL).session("hers").info()


async def test_without_the_right_nobody_is_passed_on_whichever_way_it_is_said(
    server: Running, gateway: Client, agent: SimulatedAgent, asks: Reviewer
) -> None:
    for each in (GATEWAY, EVE):
        asks.give(each, CALL, LOOK)
    eve = gateway.as_caller(EVE)
    ways = (
        lambda: eve.pool(POOL).call("echo"),
        lambda: anext(eve.pool(POOL).stream("count", {"to": 1})),
        lambda: eve.pool(POOL).call("echo", {"a": b"x" * 1_000_000}),
        lambda: eve.pool(POOL).info(),
        lambda: eve.pool(POOL).session("s").create(),
        lambda: eve.pools(),
    )
    for way in ways:
        with pytest.raises(PermissionDenied, match=f"may not impersonate users '{EVE}'.*can-i impersonate users/{EVE} --as={GATEWAY}"):
            await way()
    asks.give(GATEWAY, AS_USER, on=f"/{EVE}")
    server.door.access.forget()
    await eve.pool(POOL).call("echo")
    with pytest.raises(PermissionDenied, match="may not impersonate groups 'system:masters'"):
        await gateway.as_caller(EVE, groups=["system:masters"]).pool(POOL).call("echo")
    assert len(agent.calls) == 1


async def test_a_right_to_pass_identities_on_that_is_taken_ends_it(
    server: Running, gateway: Client, asks: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((policy, "FRESH_SECONDS"), (policy, "KEPT_SECONDS"), (policy, "REFUSED_SECONDS"), (held, "LOOK_AGAIN_SECONDS")):
        monkeypatch.setattr(module, name, 0.05)
    asks.give(GATEWAY, AS_USER)
    asks.give(EVE, CALL)
    eve = gateway.as_caller(EVE).pool(POOL)
    await eve.call("echo")
    asks.take(GATEWAY, AS_USER)

    async def refused() -> bool:
        try:
            await eve.call("echo")
        except PermissionDenied:
            return True
        return False

    await eventually(refused, "it is over")


async def test_turns_and_keys_and_the_audit_log_go_by_the_caller(
    server: Running, agent: SimulatedAgent, gateway: Client, asks: Reviewer, caplog: pytest.LogCaptureFixture
) -> None:
    limited = settings(call={"maxConcurrentPerCaller": 1}, generation=2)
    server.fleet.sync([limited], complete=False, drain=[])
    asks.give(GATEWAY, AS_USER)
    asks.give("ada", CALL)
    asks.give("bob", CALL)
    ada, bob, cleo = (gateway.as_caller(each).pool(POOL) for each in ("ada", "bob", "cleo"))
    running = asyncio.create_task(ada.call("hang"))
    await eventually(lambda: agent.running, "the one slot is taken")
    with pytest.raises(CallerLimit):
        await ada.call("echo")
    waiting = asyncio.create_task(bob.call("echo"))
    await eventually(lambda: server.flow.pools[POOL].queue.depth == 1, "another caller's call is taken")
    agent.let_go()
    await asyncio.gather(running, waiting)
    before = len(agent.calls)
    for each in (ada, ada, bob, bob):
        await each.call("echo", {"a": 1}, idempotency_key="k")
    assert len(agent.calls) == before + 2
    with caplog.at_level(logging.INFO, "snakepit.audit"), pytest.raises(PermissionDenied):
        await cleo.call("echo")
    (line,) = [json.loads(record.getMessage()) for record in caplog.records]
    assert (line["subject"], line["impersonator"], line["pool"], line["allowed"]) == ("cleo", GATEWAY, POOL, False)


async def test_plain_grpc_says_it_in_metadata_and_a_link_in_each_call(server: Running, agent: SimulatedAgent, asks: Reviewer) -> None:
    asks.give(GATEWAY, AS_USER)
    asks.give(EVE, LOOK)
    async with grpc.aio.insecure_channel(server.address) as channel:
        caller = Caller(channel, token(GATEWAY))
        as_ada = (*caller.metadata, ("impersonate-user", EVE))
        caller.metadata = as_ada
        with pytest.raises(PermissionDenied, match=f"'{EVE}' may not create snakepools/call"):
            await caller.call("echo")
        asks.give(EVE, CALL)
        server.door.access.forget()
        await caller.call("echo")
        assert read(agent.calls[-1].identity)[0] == EVE
        hello = link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT))])
        stream = link_pb2_grpc.LinkServiceStub(channel).Link(metadata=as_ada)
        await stream.write(hello)
        with pytest.raises(InvalidArguments, match="say in each call"):
            await rpc(stream.read())


def test_whom_calls_are_made_for_is_looked_at_before_anything_is_sent() -> None:
    client = Client("localhost:1")
    for subject, groups in (("", ()), (None, ()), ("ada", "staff"), ("ada", [1])):
        with pytest.raises(InvalidArguments, match=r"as_caller: (subject|groups)"):
            client.as_caller(subject, groups=groups)  # type: ignore[arg-type]
    assert repr(client.as_caller("ada")) == "AsCaller('ada')"
