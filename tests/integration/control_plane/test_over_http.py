"""The gateway before a control plane: every row of the table in snakepit.errors as HTTP has it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from snakepit.errors import BY_REASON, SnakepitError, ToolError
from snakepit_gateway.problems import as_json, headers
from support.dev_server import Dev, ready_dev
from support.failures import PRODUCERS, Failing, pools
from support.gateway import gateway

ELSEWHERE = {"CALL_NOT_FOUND", "TOOL_QUOTA", "PROTOCOL_MISMATCH", "DRAINING", "STALE_EPOCH", "UNAUTHENTICATED", "PERMISSION_DENIED"}
"""What is asked in the console, and what agents and SDKs meet when they dial. The last two a caller meets as well: see
gateway/test_who_asks.py.
"""
SECONDS = 20.0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with ready_dev(*pools(tmp_path_factory.mktemp("pools")), "--gateway", "off") as program:
        yield program


async def over_http(http: httpx.AsyncClient, failing: Failing, request: dict[str, Any]) -> httpx.Response:
    """The same request."""
    root, session = f"/v1/pools/{request['pool']}", f"/sessions/{request.get('session_id')}"
    match failing.method:
        case "SessionService/GetSession":
            return await http.get(root + session)
        case "SessionService/CreateSession":
            return await http.put(root + session)
        case "SessionService/SetState":
            return await http.put(f"{root}{session}/state/{request['key']}", json=request["value"]["json"])
    said = {
        "Snakepit-Session": request.get("session_id", ""),
        "Snakepit-Affinity": request.get("affinity", "").removeprefix("AFFINITY_").lower(),
    }
    headers = {name: each for name, each in said.items() if each}
    return await http.post(f"{root}/tools/{request['tool']}", json=request["json"], headers=headers)


@contextlib.asynccontextmanager
async def holding(http: httpx.AsyncClient, failing: Failing) -> AsyncIterator[None]:
    """What the request needs beside it."""
    tasks = [asyncio.create_task(over_http(http, failing, failing.one_connection)) for _ in range(2 if failing.one_connection else 0)]
    try:
        while tasks and (await http.get(f"/v1/pools/{failing.request['pool']}")).json()["queueDepth"] < 1:
            await asyncio.sleep(0.01)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("reason", [each for each in (*BY_REASON, ToolError.reason) if each not in ELSEWHERE])
async def test_each_row_has_its_status_and_says_whether_the_tool_has_started(stage: Dev, reason: str) -> None:
    kind = BY_REASON.get(reason, ToolError)
    async with (
        asyncio.timeout(2 * SECONDS),
        PRODUCERS[reason](stage) as failing,
        gateway(failing.address) as http,
        holding(http, failing),
    ):
        answer = await over_http(http, failing, failing.request)
    problem = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (kind.http, "application/problem+json"), problem
    assert (problem["reason"], problem["status"]) == (reason, kind.http)
    assert problem["started"] in {"no", "maybe", "yes"}
    assert problem["detail"]
    assert ("Retry-After" in answer.headers) == ("retryAfter" in problem)


@pytest.mark.parametrize("reason", sorted(ELSEWHERE))
def test_rows_that_no_request_meets_have_one_too(reason: str) -> None:
    error = BY_REASON[reason]("why", retry_after=0.2)
    assert as_json(error)["status"] == error.http in range(400, 600)
    assert headers(error)["Retry-After"] == "1"


async def test_where_waiting_helps_retry_after_says_how_long(stage: Dev) -> None:
    async with PRODUCERS["POOL_SATURATED"](stage) as failing, gateway(failing.address) as http:
        answer = await over_http(http, failing, failing.request)
    assert int(answer.headers["Retry-After"]) >= 1


def test_the_base_of_all_is_the_gateways_own_failure() -> None:
    assert SnakepitError.http == 500
