"""What ends an MCP request before its time, and what tells a listener that a pool's tools have changed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.subscriptions import Subscription
from mcp.server.subscriptions import ToolsListChanged

from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.server import Running
from snakepit_gateway.mcp import older
from support.control_plane import eventually
from support.dev_server import Program
from support.gateway import served
from support.ports import free_port
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import TOOLS

BOTH = {"Accept": "application/json, text/event-stream"}
OLD = {**BOTH, "MCP-Protocol-Version": "2025-11-25"}


def request(method: str, number: int = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@pytest.fixture
async def agent(server: Running) -> AsyncIterator[SimulatedAgent]:
    async with simulated_agent(server.address, workers=2) as made:
        yield made


@pytest.fixture
async def url(server: Running, agent: SimulatedAgent) -> AsyncIterator[str]:
    async with served(server.address) as base:
        yield f"{base}/mcp/{POOL}"


async def runs(agent: SimulatedAgent) -> None:
    await eventually(lambda: agent.running, "the tool runs")


async def was_interrupted(agent: SimulatedAgent) -> None:
    await eventually(lambda: agent.cancelled and not agent.running, "the tool was interrupted")


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_client_that_gives_a_call_up_interrupts_the_tool(agent: SimulatedAgent, url: str, mode: Any) -> None:
    async with Client(url, mode=mode) as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "hang")
        await runs(agent)
        group.cancel_scope.cancel()
    await was_interrupted(agent)


@pytest.mark.parametrize("headers", [OLD, {**BOTH, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "hang"}])
async def test_a_stream_that_is_closed_interrupts_the_tool(agent: SimulatedAgent, url: str, headers: dict[str, str]) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"name": "hang"} if headers is OLD else {"name": "hang", "_meta": meta}
    async with httpx.AsyncClient(timeout=30) as http:
        asking = asyncio.create_task(http.post(url, json=request("tools/call", **params), headers=headers))
        await runs(agent)
        asking.cancel()
        await asyncio.wait([asking])
    await was_interrupted(agent)


@pytest.mark.parametrize(("meta", "kind"), [({}, "application/json"), ({"progressToken": 7}, "text/event-stream")])
async def test_an_older_client_gets_json_where_nothing_is_said_before_the_result(url: str, meta: dict[str, int], kind: str) -> None:
    """It needn't even know SSE, as no curl and no proxy does."""
    accept = OLD if meta else {**OLD, "Accept": "application/json"}
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.post(url, json=request("tools/call", name="echo", arguments={"text": "tea"}, _meta=meta), headers=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert '"isError":false' in answer.text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("application/json", "application/json"), (BOTH["Accept"], "text/event-stream"), ("*/*", "text/event-stream")],
)
async def test_an_older_clients_answer_that_takes_long_becomes_a_stream_only_where_it_takes_one(
    agent: SimulatedAgent, url: str, monkeypatch: pytest.MonkeyPatch, accept: str, kind: str
) -> None:
    monkeypatch.setattr(older, "PING_SECONDS", 0.001)
    async with httpx.AsyncClient(timeout=30) as http:
        asking = asyncio.create_task(http.post(url, json=request("tools/call", name="hang"), headers={**OLD, "Accept": accept}))
        await runs(agent)
        agent.let_go()
        answer = await asking
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert '"late"' in answer.text


async def test_an_older_clients_word_that_a_request_is_cancelled_interrupts_its_tool_and_no_others(agent: SimulatedAgent, url: str) -> None:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    async with httpx.AsyncClient(timeout=30) as http:
        ids = [(await http.post(url, json=request("initialize", **params), headers=BOTH)).headers["mcp-session-id"] for _ in range(2)]
        assert ids[0] != ids[1]
        call = request("tools/call", 7, name="hang")
        mine, others = (asyncio.create_task(http.post(url, json=call, headers={**OLD, "Mcp-Session-Id": each})) for each in ids)
        await eventually(lambda: len(agent.running) == 2, "both run")
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        for session in ("made-up", ids[0]):
            assert (await http.post(url, json=cancelled, headers={**OLD, "Mcp-Session-Id": session})).status_code == 202
        await mine
        await eventually(lambda: len(agent.running) == 1, "mine was interrupted")
        assert not others.done()
        agent.let_go()
        assert '"late"' in (await others).text


async def test_listeners_of_both_eras_hear_that_workers_with_other_tools_have_come(agent: SimulatedAgent, url: str) -> None:
    heard: list[str] = []

    async def hear() -> None:
        async with http.stream("GET", url, headers=OLD) as stream:
            async for line in stream.aiter_lines():
                heard.append(line)  # noqa: PERF401  # each as it comes

    async with httpx.AsyncClient(timeout=30) as http, Client(url) as client:
        listening = asyncio.create_task(hear())
        await eventually(lambda: heard, "the older client listens")
        async with client.listen(tools_list_changed=True) as changes:
            for name in ("extra", "more"):
                tools = [common_pb2.Tool(name=each, input_schema="{}") for each in (*TOOLS, name)]
                agent.send(offer=link_pb2.Offer(tools=tools))
                assert await asyncio.wait_for(anext(changes), 20) == ToolsListChanged()
                assert name in {each.name for each in (await client.list_tools()).tools}
        await eventually(lambda: any("list_changed" in line for line in heard), "the older client has heard")
        listening.cancel()
        await asyncio.wait([listening])
    assert (await _refused(url)) == 406


async def _refused(url: str) -> int:
    async with httpx.AsyncClient() as http:
        return (await http.get(url, headers={"Accept": "text/html"})).status_code


async def test_a_gateway_that_ends_lets_its_listeners_go_in_good_order(server: Running, agent: SimulatedAgent) -> None:
    async def listen(changes: Subscription) -> str:
        async for _ in changes:
            raise AssertionError("nothing has changed")
        return "ended"

    async with contextlib.AsyncExitStack() as stack:
        base = await stack.enter_async_context(contextlib.AsyncExitStack())
        url = f"{await base.enter_async_context(served(server.address))}/mcp/{POOL}"
        client = await stack.enter_async_context(Client(url))
        changes = await stack.enter_async_context(client.listen(tools_list_changed=True))
        listening = asyncio.create_task(listen(changes))
        await base.aclose()
        assert await asyncio.wait_for(listening, 20) == "ended"


async def test_a_gateway_that_ends_lets_an_older_clients_stream_finish(server: Running, agent: SimulatedAgent) -> None:
    """What makes the stream would cut it off within half a second."""
    port = free_port()
    settings = {"SERVER": server.address, "GATEWAY_LISTEN": f"127.0.0.1:{port}", "GATEWAY_LINGER_SECONDS": "0"}
    program = Program(sys.executable, "-m", "snakepit_gateway", **{f"SNAKEPIT_{name}": value for name, value in settings.items()})
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(program.end)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30))

        async def is_ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await http.get("/readyz")).status_code == 200
            return False

        await eventually(is_ready, "the gateway is ready", 30)
        call = request("tools/call", name="hang", _meta={"progressToken": 7})
        asking = asyncio.create_task(http.post(f"/mcp/{POOL}", json=call, headers=OLD))
        await runs(agent)
        program.send(signal.SIGTERM)
        done, _ = await asyncio.wait([asking], timeout=1.5)
        assert not done
        agent.let_go()
        assert '"late"' in (await asking).text
        assert await asyncio.to_thread(program.wait) == 0
