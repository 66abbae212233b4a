"""Who asks over MCP: the caller's own token counts, for what may be called as for whose a session is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from support.dev_server import Dev, pool_file, ready_dev

ADA, BOB = "ada-0123456789abcdef", "bob-0123456789abcdef"
ISSUER = "https://login.example.com/realm"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder: Path = tmp_path_factory.mktemp("tokens")
    (folder / "tokens.csv").write_text(f'{ADA},ada,1,"staff"\n{BOB},bob\n')
    words = ["--token-file", folder / "tokens.csv", "--gateway", "127.0.0.1:0"]
    with ready_dev(pool_file(folder, "sample", "support.sample:Sample"), *words, SNAKEPIT_GATEWAY_AUTHORIZATION_SERVERS=ISSUER) as running:
        yield running


@pytest.fixture
def url(server: Dev) -> str:
    return f"{server.gateway}/mcp/default/sample"


@contextlib.asynccontextmanager
async def caller(url: str, token: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http, Client(streamable_http_client(url, http_client=http)) as client:
        yield client


async def test_a_call_is_its_callers(url: str) -> None:
    for name, token in (("ada", ADA), ("bob", BOB)):
        async with caller(url, token) as client:
            assert (await client.call_tool("who")).structured_content["result"][0] == name  # type: ignore[index]


async def test_possession_of_a_handle_is_no_right(url: str) -> None:
    async with caller(url, ADA) as ada, caller(url, BOB) as bob:
        opened: Any = (await ada.call_tool("open_session")).structured_content
        given = {"session": opened["session"], "key": "a"}
        assert not (await ada.call_tool("remember", {**given, "value": 1})).is_error
        stolen = await bob.call_tool("recall", given)
        assert stolen.is_error
        assert stolen.meta is not None
        assert stolen.meta["snakepit.dev/error"]["reason"] == "SESSION_NOT_FOUND"
        assert (await ada.call_tool("recall", given)).structured_content == {"result": 1}


@pytest.mark.parametrize(("headers", "error"), [({}, ""), ({"Authorization": "Bearer nobodys-0123456789"}, 'error="invalid_token"')])
@pytest.mark.parametrize("version", [None, "2025-11-25", "2026-07-28"])
async def test_without_a_token_that_counts_a_client_is_told_where_to_get_one(
    url: str, headers: dict[str, str], error: str, version: str | None
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {**headers, "Accept": "application/json, text/event-stream", **({"MCP-Protocol-Version": version} if version else {})}
    async with httpx.AsyncClient() as http:
        refused = await http.post(url, json=body, headers=headers)
        assert refused.status_code == 401
        challenge = refused.headers["www-authenticate"]
        assert challenge.startswith("Bearer ")
        assert error in challenge
        assert ("error=" in challenge) == bool(error)
        address = challenge.partition('resource_metadata="')[2].rstrip('"')
        metadata = (await http.get(address)).json()
    assert metadata == {
        "resource": url,
        "resource_name": "default/sample",
        "bearer_methods_supported": ["header"],
        "authorization_servers": [ISSUER],
    }
