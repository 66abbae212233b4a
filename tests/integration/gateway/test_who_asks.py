"""A gateway before a control plane that asks: a request is its token's bearer's, over HTTP and MCP, and never the gateway's own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from snakepit._ipc.callers import read
from snakepit_control_plane.policy.rights import CALL, LOOK, ON_POOLS
from snakepit_control_plane.server import Running
from support.callers import ADA, BOB, GATEWAY, put, token
from support.gateway import served
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent

TOOLS = f"/v1/pools/{POOL}/tools"


@pytest.fixture
def asks(asks: Reviewer) -> Reviewer:
    """The gateway itself may do everything: so whoever got its identity would be noticed."""
    asks.give(GATEWAY, *ON_POOLS)
    return asks


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


@pytest.fixture
async def front(
    server: Running, agent: SimulatedAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("SNAKEPIT_TOKEN_FILE", str(put(tmp_path / "gateway", token(GATEWAY))))
    async with served(server.address) as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        yield http


def bearing(bearer: str) -> dict[str, str]:
    return {"Authorization": bearer if " " in bearer else f"Bearer {bearer}"} if bearer else {}


async def by_mcp(front: httpx.AsyncClient, bearer: str, tool: str, **arguments: object) -> httpx.Response:
    version = "2026-07-28"
    meta = {"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    said = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": version, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return await front.post(f"/mcp/{POOL}", json=body, headers={**bearing(bearer), **said})


def told(answer: httpx.Response) -> dict[str, Any]:
    """What MCP has answered, as JSON or as the one event of a stream."""
    text = answer.text
    line = next((each[5:] for each in text.splitlines() if each.startswith("data:") and "{" in each), text)
    found: dict[str, Any] = json.loads(line)
    return found


async def every_way(front: httpx.AsyncClient, bearer: str) -> dict[str, httpx.Response]:
    """Over the link, over bulk lanes, beside the link, and by MCP."""
    own = bearing(bearer)
    return {
        "call": await front.post(f"{TOOLS}/echo", json={"a": 1}, headers=own),
        "stream": await front.post(f"{TOOLS}/count", json={"to": 2}, headers={**own, "Accept": "application/x-ndjson"}),
        "large": await front.post(f"{TOOLS}/fail", json={"a": "x" * 1_000_000}, headers=own),
        "tools": await front.get(TOOLS, headers=own),
        "session": await front.put(f"/v1/pools/{POOL}/sessions/s", headers=own),
        "mcp": await by_mcp(front, bearer, "echo", a=1),
    }


async def test_a_request_is_its_tokens_bearers_whichever_way_it_goes(
    front: httpx.AsyncClient, agent: SimulatedAgent, asks: Reviewer
) -> None:
    asks.give(ADA, CALL, LOOK)
    answers = await every_way(front, token(ADA))
    large = answers.pop("large")
    assert large.json()["reason"] == "TOOL_ERROR"
    assert {way: answer.status_code for way, answer in answers.items() if not answer.is_success} == {}
    assert len(agent.calls) == 4
    assert {read(each.identity)[0] for each in agent.calls} == {ADA}
    assert (await front.get("/v1/whoami", headers=bearing(token(ADA)))).json()["subject"] == ADA


@pytest.mark.parametrize(
    "bearer",
    ["", "garbage", "Basic YTpi", token(ADA, exp=time.time() - 60), token(ADA, aud=["https://kubernetes.default.svc"])],
    ids=["none", "garbage", "no bearer's", "expired", "of another audience"],
)
async def test_without_a_good_token_nobody_is_anybody(front: httpx.AsyncClient, agent: SimulatedAgent, asks: Reviewer, bearer: str) -> None:
    asks.give(ADA, CALL, LOOK)
    for way, answer in (await every_way(front, bearer)).items():
        assert answer.status_code == 401, way
        said = answer.headers["WWW-Authenticate"]
        if way == "mcp":
            assert said.startswith("Bearer"), way
        else:
            assert answer.json()["reason"] == "UNAUTHENTICATED", way
            assert said == 'Bearer realm="snakepit"' + ', error="invalid_token"' * bool(bearer), way
    assert not agent.calls


async def test_who_may_not_is_told_so_and_the_gateways_own_rights_are_nobodys(
    front: httpx.AsyncClient, agent: SimulatedAgent, asks: Reviewer
) -> None:
    for way, answer in (await every_way(front, token(BOB))).items():
        if way != "mcp":
            assert (answer.status_code, answer.json()["reason"]) == (403, "PERMISSION_DENIED"), way
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="snakepit", error="insufficient_scope"', way
        assert BOB in answer.text
        assert GATEWAY not in answer.text
    assert not agent.calls


async def test_what_a_browser_has_typed_into_the_console_is_nothing_to_the_other_rooms(
    front: httpx.AsyncClient, agent: SimulatedAgent, asks: Reviewer
) -> None:
    asks.give(ADA, CALL, LOOK)
    front.cookies.set("snakepit_token", token(ADA))
    assert (await front.post(f"{TOOLS}/echo", json={})).status_code == 401
    assert (await by_mcp(front, "", "echo")).status_code == 401


async def test_many_at_once_are_each_their_own(front: httpx.AsyncClient, agent: SimulatedAgent, asks: Reviewer) -> None:
    people = {f"system:serviceaccount:shop:p{number}": number for number in range(8)}
    tokens = {subject: token(subject) for subject in people}
    for subject in people:
        asks.give(subject, CALL)

    async def one(subject: str) -> None:
        answer = await front.post(f"{TOOLS}/echo", json={"number": people[subject]}, headers=bearing(tokens[subject]))
        assert answer.json() == {"number": people[subject]}

    await asyncio.gather(*(one(subject) for _ in range(10) for subject in people))
    for call in agent.calls:
        assert json.loads(call.arguments.data) == {"number": people[read(call.identity)[0]]}
    assert len(agent.calls) == 80


async def test_a_handle_of_somebody_elses_session_is_worth_nothing(front: httpx.AsyncClient, agent: SimulatedAgent, asks: Reviewer) -> None:
    for each in (ADA, BOB):
        asks.give(each, CALL, LOOK)
    handle = told(await by_mcp(front, token(ADA), "open_session"))["result"]["structuredContent"]["session"]
    assert not told(await by_mcp(front, token(ADA), "echo", session=handle))["result"].get("isError")
    assert "SESSION_NOT_FOUND" in (await by_mcp(front, token(BOB), "echo", session=handle)).text
    strange = await front.post(f"{TOOLS}/echo", json={}, headers={**bearing(token(BOB)), "Snakepit-Session": handle})
    assert (strange.status_code, strange.json()["reason"]) == (404, "SESSION_NOT_FOUND")
    assert len(agent.calls) == 1
