"""MCP clients that others wrote, beside those of `make test`: each lists, keeps a session, hears progress, and is told what is wrong.

The folder of each environment of Python is in MCP_1 and FASTMCP. Only `make test-mcp-clients` runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clients import CLIENTS, mcp_others
from support.dev_server import pool_file, ready_dev

PROGRAMS = CLIENTS / "mcp-others"
SECONDS = 120
COMMANDS = {
    "mcp 1.30": lambda: [f"{os.environ['MCP_1']}/bin/python", str(PROGRAMS / "mcp_1.py")],
    "fastmcp": lambda: [f"{os.environ['FASTMCP']}/bin/python", str(PROGRAMS / "of_fastmcp.py")],
    "TypeScript 1.32": lambda: mcp_others("client.mjs"),
}
INSPECTOR = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"

pytestmark = pytest.mark.timeout(SECONDS + 600)  # They are fetched once.


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    everything = pool_file(
        tmp_path_factory.mktemp("pools"), "everything", "support.everything:Everything", worker="profile: thread", replicas="1"
    )
    with ready_dev(everything, "--gateway", "127.0.0.1:0") as program:
        yield f"{program.gateway}/mcp/default/everything"


def said(command: list[str], home: Path) -> Any:
    """The inspector keeps a catalog at home."""
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=home, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("client", COMMANDS)
def test_a_client_is_served(client: str, url: str, tmp_path: Path) -> None:
    told = said([*COMMANDS[client](), url], tmp_path)
    assert {"open_session", "point"} <= set(told["tools"])
    assert (told["recalled"], told["progress"], told["wrong"]) == ({"result": "tea"}, [0, 0.5, 1], True)
    assert told.get("version", "2025-11-25") == "2025-11-25", "of those that say it"


def test_the_inspectors_command_line_lists_calls_and_shows_what_is_wrong(url: str, tmp_path: Path) -> None:
    inspector = [*mcp_others(INSPECTOR), "--cli", url, "--transport", "http", "--method"]
    tools = {each["name"]: each for each in said([*inspector, "tools/list"], tmp_path)["tools"]}
    assert tools["point"]["outputSchema"]["properties"]["x"] == {"type": "integer"}
    call = [*inspector, "tools/call", "--tool-name"]
    assert said([*call, "point", "--tool-arg", "x=3"], tmp_path)["structuredContent"] == {"x": 3, "note": None}
    session = said([*call, "open_session"], tmp_path)["structuredContent"]["session"]
    said([*call, "remember", "--tool-arg", "value=tea", f"session={session}"], tmp_path)
    assert said([*call, "recall", "--tool-arg", f"session={session}"], tmp_path)["structuredContent"] == {"result": "tea"}
