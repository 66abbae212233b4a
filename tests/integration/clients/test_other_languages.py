"""Clients in Go and Node: every row of docs/payloads.md in both forms, a stream, a tool's exception, and an error's details."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snakepit._values.foreign import REMEDY
from snakepit._values.payloads import NDARRAY, OCTETS
from snakepit_control_plane.authentication import LocalTokens
from support.authority import Authority
from support.clients import BUILD_SECONDS, CLIENTS, go_client, node_client
from support.control_plane import replica
from support.dev_server import Dev, pool_file, ready_dev
from support.rows import LOCK, MARKED, ROWS, Row

CLIENT_SECONDS = 60.0
TOKEN = "ada-0123456789abcdef"

pytestmark = pytest.mark.timeout(3 * BUILD_SECONDS)
in_both = pytest.mark.parametrize("answers", [go_client, node_client], ids=["go", "node"], indirect=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("pools")
    (folder / "tokens.csv").write_text(f"{TOKEN},ada\n")
    pool = pool_file(folder, "values", "support.values:Values", replicas="1")
    with ready_dev(pool, "--token-file", folder / "tokens.csv") as program:
        yield program


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokens") / "token"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest, server: Dev, token_file: Path) -> Any:
    """All that the client said: it runs once."""
    make: Callable[[str], list[str]] = request.param
    done = ran(make(server.server), cases(), token_file, "")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ran(command: list[str], asked: dict[str, Any], token_file: Path | str, ca_file: Path | str) -> subprocess.CompletedProcess[str]:
    text = json.dumps({"pool": "default/values", "cases": asked, "to": 100})
    environment = {**os.environ, "SNAKEPIT_TOKEN_FILE": str(token_file), "SNAKEPIT_CA_FILE": str(ca_file)}
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False, env=environment)


def cases() -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for name in (*ROWS, *MARKED):
        asked[f"make {name}"] = {"tool": "make", "json": {"name": name}}
        asked[f"make payload {name}"] = {"tool": "make", "payload": {"data": json.dumps({"name": name}), "attachments": []}}
    for name, row in ROWS.items():
        asked[f"echo {name}"] = {"tool": "echo", "json": {"value": row.json_form}}
        asked[f"echo payload {name}"] = {"tool": "echo", "payload": in_payload_form(row, f'{{"value":{row.text}}}')}
    return asked


def in_payload_form(row: Row, text: str) -> dict[str, Any]:
    attachments = [{**each, "content_type": NDARRAY if each["dtype"] else OCTETS} for each in attached(row)]
    return {"data": text, "attachments": attachments}


def attached(row: Row) -> list[dict[str, Any]]:
    return [{"data": base64.b64encode(data).decode(), "dtype": dtype, "shape": list(shape)} for data, dtype, shape in row.attachments]


def as_said(row: Row) -> dict[str, Any]:
    return {"data": row.text, "attachments": attached(row), "warnings": []}


@in_both
@pytest.mark.parametrize("name", ROWS)
def test_a_value_goes_both_ways_in_both_forms(answers: Any, name: str) -> None:
    row, results = ROWS[name], answers["results"]
    assert results[f"make {name}"] == {"json": row.json_form, "warnings": []}
    assert results[f"echo {name}"] == {"json": row.json_form, "warnings": []}
    assert results[f"make payload {name}"] == as_said(row)
    assert results[f"echo payload {name}"] == as_said(row)


@in_both
def test_what_cant_be_carried_comes_with_a_warning(answers: Any) -> None:
    warnings = [f"$.odd[0] is a {LOCK}, which can't be carried: a marker stands in its place; {REMEDY}"]
    assert answers["results"]["make lock"] == {"json": MARKED["lock"].back, "warnings": warnings}
    assert answers["results"]["make payload lock"]["warnings"] == warnings


@in_both
def test_a_stream_arrives_in_order(answers: Any) -> None:
    assert answers["chunks"] == list(range(100))


@in_both
def test_an_array_of_the_language_comes_back_as_one(answers: Any) -> None:
    assert [float(each.replace("Inf", "inf").replace("infinity", "inf")) for each in answers["array"]][::2] == [1.5, float("-inf")]
    assert answers["array"][1] == "NaN"


@in_both
def test_a_tools_exception_is_an_outcome(answers: Any) -> None:
    assert answers["failed"] == {"type": "LookupError", "message": "nothing there"}


@in_both
def test_a_refusal_has_its_reason_in_the_details(answers: Any) -> None:
    refused = answers["refused"]
    assert (refused["code"], refused["reason"], refused["domain"]) == (5, "TOOL_NOT_FOUND", "snakepit.dev")
    assert refused["metadata"]["started"] == "NO"
    assert "echo" in refused["metadata"]["nearest"]


@pytest.mark.parametrize("make", [go_client, node_client], ids=["go", "node"])
async def test_token_and_ca_are_read_from_their_files(make: Callable[[str], list[str]], token_file: Path, tmp_path: Path) -> None:
    """There is no pool behind it: whoever hears that has come through TLS, and was known."""
    (tmp_path / "tokens.csv").write_text(f"{TOKEN},ada\n")
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    command = await asyncio.to_thread(make, "")
    async with replica(tls=authority.files(), authentication=LocalTokens(str(tmp_path / "tokens.csv"))) as server:
        words = [each or server.address for each in command]
        for token, ca, said in (
            (token_file, authority.ca_file, "default/values"),
            ("", authority.ca_file, "sent no token"),
            (token_file, other.ca_file, "certificate"),
        ):
            done = await asyncio.to_thread(ran, words, {}, token, ca)
            assert done.returncode != 0
            assert said in done.stderr


def test_nothing_in_the_lock_files_names_a_host() -> None:
    lock = json.loads((CLIENTS / "node/package-lock.json").read_text())
    fetched = [package for path, package in lock["packages"].items() if path]
    assert all("resolved" not in package and package["integrity"].startswith("sha512-") for package in fetched)
    assert "http" not in json.dumps(lock)
