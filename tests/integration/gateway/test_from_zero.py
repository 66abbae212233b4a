"""Calls of a pool that has had no worker yet, for want of calls: nobody knows its tools, and they bring it about that it has one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import eventually
from support.gateway import served
from support.simulated_agent import settings

POOL = "default/front"
SPEC = spec("support.front:Front", replicas=0)
NDJSON, SSE = {"Accept": "application/x-ndjson"}, {"Accept": "text/event-stream"}


@pytest.fixture
async def tools(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    server.fleet.sync([at_zero()], complete=True, drain=[])
    async with served(server.address) as base, httpx.AsyncClient(base_url=f"{base}/v1/pools/{POOL}/tools/", timeout=60) as asking:
        yield asking


def at_zero() -> link_pb2.PoolSettings:
    return settings(POOL, replicas=0, worker={"adapter": "support.front:Front"}, queue={"activationTimeoutSeconds": 60})


async def first(server: Running, tools: httpx.AsyncClient, tool: str, **asked: Any) -> httpx.Response:
    """The answer to a call that waits before there is any worker, which its waiting is then said to have brought about."""
    call = asyncio.create_task(tools.post(tool, **asked))
    await eventually(lambda: call.done() or server.flow.pools[POOL].queue.depth == 1)
    assert not call.done(), call.result().text
    async with capsule(SPEC, server, pool=POOL, capsule="front-0"):
        return await call


async def test_a_stream_of_a_tool_that_streams(server: Running, tools: httpx.AsyncClient) -> None:
    answer = await first(server, tools, "models", headers=NDJSON)
    assert [key for line in answer.text.splitlines() for key in json.loads(line)] == ["warning", "chunk", "chunk", "end"]


async def test_and_of_one_that_does_not(server: Running, tools: httpx.AsyncClient) -> None:
    answer = await first(server, tools, "steps", json={"count": 2}, headers=NDJSON)
    said = [json.loads(line) for line in answer.text.splitlines()]
    assert said[-1] == {"result": 2}
    assert [each for each in said[:-1] if "progress" not in each] == []


async def test_and_of_one_with_a_key_which_no_stream_may_have(server: Running, tools: httpx.AsyncClient) -> None:
    answer = await first(server, tools, "double", json={"value": 1}, headers={**SSE, "Idempotency-Key": "one"})
    assert answer.text == "event: result\ndata: [1,1]\n\n"


async def test_a_form(server: Running, tools: httpx.AsyncClient) -> None:
    answer = await first(server, tools, "sizes", files={"data": b"\x00" * 7}, data={"title": "a title"})
    assert answer.json() == [7, "a title", None]


async def test_a_tool_that_there_is_not_is_said_when_somebody_knows(server: Running, tools: httpx.AsyncClient) -> None:
    answer = await first(server, tools, "stepz", headers=SSE)
    assert (answer.status_code, answer.json()["reason"]) == (404, "TOOL_NOT_FOUND")
