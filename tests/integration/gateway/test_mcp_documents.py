"""What stands on the page about MCP, against `snakepit dev`."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters

from support.dev_server import Dev, ready_dev
from support.pages import ROOT, Block, blocks

PAGE = blocks("docs/mcp.md")


def of(language: str, containing: str) -> list[Any]:
    return [pytest.param(each, id=each.id) for each in PAGE if each.language == language and containing in each.text]


@pytest.fixture(scope="module")
def server() -> Iterator[Dev]:
    with ready_dev(ROOT / "examples/notes/pool.yaml", "--gateway", "127.0.0.1:0") as program:
        yield program


def here(text: str, server: Dev) -> str:
    return text.replace("http://localhost:7880", server.gateway).replace("localhost:7800", server.server)


@pytest.mark.parametrize("block", of("python", "Client("))
def test_a_program_runs(block: Block, server: Dev) -> None:
    names: dict[str, Any] = {"Client": Client}
    code = compile(here(block.text, server), "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def whole() -> None:
        done = eval(code, names)
        if inspect.isawaitable(done):
            await done

    asyncio.run(asyncio.wait_for(whole(), 30))


@pytest.mark.parametrize("block", of("sh", "curl"))
def test_a_command_answers(block: Block, server: Dev, tmp_path: Path) -> None:
    (request,) = [each.text for each in PAGE if each.file == "request.json"]
    (tmp_path / "request.json").write_text(request)
    shell = ["sh", "-c", here(block.text, server)]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout)["result"]["structuredContent"] == {"result": "3 pages"}


@pytest.mark.parametrize("block", of("json", "mcpServers"))
async def test_a_desktop_clients_configuration_works(block: Block, server: Dev) -> None:
    ((name, one),) = json.loads(here(block.text, server))["mcpServers"].items()
    assert name == "notes"
    target: Any = one.get("url")
    if target is None:
        assert one["command"] == "snakepit"
        words = ["-m", "snakepit.cli", *one["args"]]
        target = StdioServerParameters(command=sys.executable, args=words, env={**os.environ, **one["env"]})
    for mode in ("auto", "legacy"):
        async with Client(target, mode=mode) as client:
            assert {each.name for each in (await client.list_tools()).tools} >= {"add", "open_session", "report"}
            assert (await client.call_tool("report", {"pages": 1})).structured_content == {"result": "1 pages"}


def test_a_pool_that_is_not_there_is_a_sentence_and_no_silence(server: Dev) -> None:
    words = [sys.executable, "-m", "snakepit.cli", "mcp", "nowhere", "--server", server.server]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "nowhere" in done.stderr


async def test_the_metadata_is_where_the_page_says(server: Dev) -> None:
    async with httpx.AsyncClient() as http:
        found = (await http.get(f"{server.gateway}/.well-known/oauth-protected-resource/mcp/default/notes")).json()
    assert found["resource"] == f"{server.gateway}/mcp/default/notes"
