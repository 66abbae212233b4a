"""A gateway without any right: each call that it passes on brings its caller's own token, and is that caller's."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from snakepit import Client
from snakepit._ipc.callers import read
from snakepit.errors import InvalidArguments, PermissionDenied, SessionNotFound, SnakepitError, Started, ToolError, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.policy.rights import CALL, LOOK
from snakepit_control_plane.server import Running
from support.bare_client import bare_client
from support.callers import ADA, BOB, GATEWAY, token
from support.control_plane import eventually, replica
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


def ways(client: Client, bearer: str) -> list[Callable[[], Awaitable[Any]]]:
    """In which a request travels: on the link, on a bulk lane because it streams or is large, and beside the link."""
    pool = client.as_caller(token=bearer).pool(POOL)

    async def large() -> None:
        with pytest.raises(ToolError):
            await pool.call("fail", {"a": b"x" * 1_000_000})

    return [
        lambda: pool.call("echo"),
        lambda: anext(pool.stream("count", {"to": 1})),
        large,
        lambda: pool.info(),
        lambda: pool.session("s").create(),
        lambda: pool.rights(),
        lambda: client.as_caller(token=bearer).whoami(),
    ]


async def test_whoever_has_somebodys_token_is_that_somebody_on_one_link_whatever_its_own_may_do(
    server: Running, gateway: Client, agent: SimulatedAgent, asks: Reviewer
) -> None:
    asks.give(ADA, CALL, LOOK)
    for way in ways(gateway, token(ADA)):
        await way()
    assert {read(each.identity)[0] for each in agent.calls} == {ADA}
    assert not any(each.HasField("caller") for each in agent.calls), "nobody is told the token"
    assert len([each for each in server.links.links.values() if each.role == "client"]) == 1
    with pytest.raises(PermissionDenied, match=f"'{BOB}' may not create snakepools/call"):
        await gateway.as_caller(token=token(BOB)).pool(POOL).call("echo")
    with pytest.raises(PermissionDenied, match=f"'{GATEWAY}' may not create snakepools/call"):
        await gateway.pool(POOL).call("echo")
    asks.give(BOB, CALL)
    server.door.access.forget()
    hers = gateway.as_caller(token=token(ADA)).pool(POOL).session("s")
    assert (await hers.info()).owner == ADA
    with pytest.raises(SessionNotFound):
        await gateway.as_caller(token=token(BOB)).pool(POOL).session("s").call("echo")
    assert not any(each["resourceAttributes"]["verb"] == "impersonate" for each in asks.asked)


async def test_a_gateway_can_be_nobody_by_name(server: Running, gateway: Client, agent: SimulatedAgent, asks: Reviewer) -> None:
    asks.give(ADA, CALL, LOOK)
    await gateway.as_caller(token=token(ADA)).pool(POOL).call("echo")
    for name in (ADA, "ada@example.com"):
        with pytest.raises(PermissionDenied, match="may not impersonate"):
            await gateway.as_caller(name, ["system:serviceaccounts", "system:serviceaccounts:shop"]).pool(POOL).call("echo")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (token(ADA, exp=time.time() - 60), "has expired"),
        (token(ADA, aud=["https://kubernetes.default.svc"]), "not for this control plane"),
        (token(ADA)[:-8] + "AAAAAAAA", "not valid"),
        ("garbage", "can't be read"),
        ("x" * 7000, "can't be read"),
    ],
    ids=["expired", "of another audience", "forged", "garbage", "long garbage"],
)
async def test_a_token_that_is_not_good_fails_its_own_call_and_nothing_else(
    server: Running, gateway: Client, agent: SimulatedAgent, asks: Reviewer, bad: str, why: str
) -> None:
    asks.give(ADA, CALL, LOOK)
    good = gateway.as_caller(token=token(ADA)).pool(POOL)
    for way in ways(gateway, bad):
        refused, _ = await asyncio.gather(_refusal(way), good.call("echo"))
        assert why in str(refused)
        assert refused.started is Started.NO
        assert bad not in str(refused)
    assert len(server.links.links) == 2, "the agent's, and the gateway's"


async def _refusal(way: Callable[[], Awaitable[Any]]) -> SnakepitError:
    with pytest.raises(Unauthenticated) as caught:
        await way()
    return caught.value


async def test_what_can_be_no_token_is_told_before_anything_is_sent() -> None:
    client = Client("localhost:1")
    for bad in ("a b", "a\r\nb", "ä", "x" * 8000):
        with pytest.raises(Unauthenticated):
            client.as_caller(token=bad)
    with pytest.raises(InvalidArguments, match="not both"):
        client.as_caller("ada", token="x")
    assert repr(client.as_caller(token="secret")) == "AsCaller(token=...)"


async def test_a_call_says_whose_it_is_in_one_way(server: Running, gateway: Client, agent: SimulatedAgent) -> None:
    async with bare_client(server.address, token(GATEWAY)) as link:
        id_ = link.call("echo", caller=link_pb2.Caller(token=token(ADA), subject=ADA))
        await eventually(lambda: id_ in link.results, "it is answered")
        assert link.results[id_].error.reason == "INVALID_ARGUMENTS"


async def test_the_audit_log_says_through_whom_a_call_came(
    server: Running, gateway: Client, agent: SimulatedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "snakepit.audit"), pytest.raises(PermissionDenied):
        await gateway.as_caller(token=token(ADA)).pool(POOL).call("echo")
    (line,) = [json.loads(record.getMessage()) for record in caplog.records]
    assert (line["subject"], line["through"], line["pool"], line["allowed"]) == (ADA, GATEWAY, POOL, False)
    assert "impersonator" not in line


async def test_where_nobody_is_asked_a_token_is_passed_over() -> None:
    async with replica() as server, simulated_agent(server.address) as agent, Client(server.address) as client:
        pool = client.as_caller(token="whatever").pool(POOL)
        assert await pool.call("echo", {"a": 1}) == {"a": 1}
        await anext(pool.stream("count", {"to": 1}))
        await pool.info()
        assert (await client.as_caller(token="whatever").whoami()).subject == ""
        assert not any(each.HasField("caller") or each.identity for each in agent.calls)
