"""A pool's OpenAPI document, judged by what others wrote: a linter, a generator of clients, and a fuzzer that goes by it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients import CLIENTS, openapi_tools
from support.dev_server import TESTS, Dev, pool_file, ready_dev
from support.fuzzed_http import holds
from support.gateway import served

pytestmark = pytest.mark.timeout(300)  # npm fetches what is not there yet
EXAMPLES = TESTS.parent / "examples"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The digits, with fewer workers, and the notes."""
    digits = pool_file(tmp_path_factory.mktemp("pools"), "digits", "digits.tools:Digits", replicas="1")
    path = os.pathsep.join([str(TESTS), str(EXAMPLES / "digits")])
    with ready_dev(digits, EXAMPLES / "notes/pool.yaml", "--gateway", "off", PYTHONPATH=path) as program:
        yield program


async def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace")


async def document(pools: httpx.AsyncClient, pool: str) -> dict[str, Any]:
    return dict((await pools.get(f"{pool}/openapi.json")).json())


async def test_it_is_of_what_the_workers_take_now(pools: httpx.AsyncClient) -> None:
    said = await document(pools, "front")
    sizes = said["paths"]["/v1/pools/default/front/tools/sizes"]["post"]
    assert sizes["requestBody"]["content"].keys() == {"application/json", "multipart/form-data"}
    assert said["components"]["schemas"]["both.result"]["type"] == "object"
    assert "/v1/pools/default/front/tools/nothing" not in said["paths"]


@pytest.mark.parametrize("pool", ["front", "notes"])
async def test_the_linter_of_redocly_has_nothing_to_say(pools: httpx.AsyncClient, tmp_path: Path, pool: str) -> None:
    """But that it has no licence: what a pool's tools may be used for is their author's to say."""
    page = tmp_path / "openapi.json"
    page.write_text(json.dumps(await document(pools, pool)))
    redocly = openapi_tools() / "node_modules/.bin/redocly"
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    code, out = await run(redocly, "lint", page, "--skip-rule", "info-license", "--format", "json", cwd=tmp_path, **quiet)
    assert code == 0, out
    assert '"errors": 0' in out
    assert '"warnings": 0' in out, out


async def test_a_client_that_is_generated_compiles_and_calls(pools: httpx.AsyncClient, tmp_path: Path) -> None:
    tools = openapi_tools()
    for name in ("client.ts", "tsconfig.json", "package.json"):
        shutil.copy(CLIENTS / "openapi" / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(tools / "node_modules")
    (tmp_path / "front.json").write_text(json.dumps(await document(pools, "front")))
    for command in (["openapi-typescript", "front.json", "-o", "front.d.ts"], ["tsc", "-p", "."]):
        code, out = await run(tools / "node_modules/.bin" / command[0], *command[1:], cwd=tmp_path)
        assert code == 0, out
    code, out = await run(shutil.which("node") or "node", "client.js", str(pools.base_url.copy_with(path="/")).rstrip("/"), cwd=tmp_path)
    assert code == 0, out
    seen = json.loads(out)
    assert seen["both"]["data"] == {"$base64": "AP8="}
    assert {key: seen[key] for key in ("steps", "reason", "session", "state")} == {
        "steps": 2,
        "reason": "TOOL_ERROR",
        "session": "typed",
        "state": "ready",
    }


@pytest.mark.parametrize("pool", ["digits", "notes"])
async def test_schemathesis_finds_no_answer_that_is_not_in_the_document_or_the_table(examples: Dev, tmp_path: Path, pool: str) -> None:
    async with served(examples.server) as url:
        await holds(f"{url}/v1/pools/default/{pool}", tmp_path)
