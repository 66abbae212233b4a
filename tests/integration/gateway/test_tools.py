"""Calls over HTTP: what goes in, what comes out, and what is said of it in headers."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.eventually import eventually
from support.front import PNG


async def test_arguments_are_a_json_object_and_so_is_a_result(pools: httpx.AsyncClient) -> None:
    answer = await pools.post("front/tools/double", json={"value": {"a": [1, None, "é"]}})
    assert answer.json() == [{"a": [1, None, "é"]}] * 2
    assert answer.headers["Content-Type"] == "application/json"
    assert len(answer.headers["Snakepit-Call-Id"]) == 16
    assert answer.headers["Snakepit-Worker"].startswith("front-")


async def test_bytes_and_files_come_as_they_are_and_no_file_is_a_page(pools: httpx.AsyncClient) -> None:
    picture = await pools.post("front/tools/picture")
    assert (picture.content, picture.headers["Content-Type"]) == (PNG, "image/png")
    blob = await pools.post("front/tools/blob", json={"size": 3})
    assert (blob.content, blob.headers["Content-Type"]) == (b"\0\0\0", "application/octet-stream")
    page = await pools.post("front/tools/page")
    assert page.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert (page.headers["Content-Disposition"], page.headers["X-Content-Type-Options"]) == ("attachment", "nosniff")


async def test_bytes_within_json_are_base64_both_ways(pools: httpx.AsyncClient) -> None:
    both = (await pools.post("front/tools/both")).json()
    assert both == {"data": {"$base64": "AP8="}, "infinite": {"$float": "Infinity"}, "large": 2**60 + 1}
    sent = {"data": {"$base64": base64.b64encode(b"four").decode()}}
    assert (await pools.post("front/tools/sizes", json=sent)).json() == [4, "", None]


async def test_a_form_has_bytes_text_and_json(pools: httpx.AsyncClient) -> None:
    form: dict[str, Any] = {"data": ("a.bin", b"x" * 300_000), "also": (None, b"[1, 2]")}
    answer = await pools.post("front/tools/sizes", files=form, data={"title": "3"})
    assert answer.json() == [300_000, "3", [1, 2]]


@pytest.mark.parametrize(
    "parts", [{"data": ("a.json", b"[" * 100_000, "application/json")}, {"data": ("a.bin", b"x"), "also": (None, b"[" * 100_000)}]
)
async def test_a_part_of_a_form_that_is_nested_too_deeply_is_refused(pools: httpx.AsyncClient, parts: Any) -> None:
    answer = await pools.post("front/tools/sizes", files=parts)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENTS"), answer.text


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason"),
    [
        (b"[1]", "application/json", 400, "INVALID_ARGUMENTS"),
        (b"{", "application/json", 400, "INVALID_ARGUMENTS"),
        (b'{"value": "\xff"}', "application/json", 400, "INVALID_ARGUMENTS"),
        (b'{"\xff": 1}', "application/json", 400, "INVALID_ARGUMENTS"),
        (b'{"value": {"$base64": 3}}', "application/json", 400, "INVALID_ARGUMENTS"),
        (b'{"value": ' + b"[" * 5000, "application/json", 400, "INVALID_ARGUMENTS"),
        (b"value=1", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"nothing", "multipart/form-data", 400, "INVALID_ARGUMENTS"),
        (b"nothing", "multipart/form-data; boundary=x", 400, "INVALID_ARGUMENTS"),
    ],
)
async def test_a_body_that_is_none_is_refused_in_a_sentence(
    pools: httpx.AsyncClient, content: bytes, kind: str, status: int, reason: str
) -> None:
    answer = await pools.post("front/tools/double", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["reason"], answer.json()["started"]) == (status, reason, "no"), answer.text


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Snakepit-Timeout": "soon"}, "Snakepit-Timeout"),
        ({"Request-Timeout": "-1"}, "Request-Timeout"),
        ({"Snakepit-Timeout": "nan"}, "Snakepit-Timeout"),
        ({"Snakepit-Priority": "highest"}, "Snakepit-Priority"),
        ({"Snakepit-Affinity": "hint"}, "Snakepit-Session"),
        ({"Snakepit-Session": "s", "Snakepit-Affinity": "strict"}, "Snakepit-Affinity"),
        ({"Snakepit-Session": "no spaces"}, "session id"),
    ],
)
async def test_a_header_that_is_wrong_is_named(pools: httpx.AsyncClient, headers: dict[str, str], named: str) -> None:
    answer = await pools.post("front/tools/picture", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENTS")
    assert named in answer.json()["detail"]


async def test_what_a_tool_raises_is_a_problem_with_its_type(pools: httpx.AsyncClient) -> None:
    answer = await pools.post("front/tools/broken")
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["started"]) == (500, "TOOL_ERROR", "yes")
    assert (problem["errorType"], problem["detail"]) == ("LookupError", "LookupError: no third")
    assert answer.headers["Snakepit-Call-Id"]


async def test_a_deadline_holds(pools: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await pools.post("front/tools/quiet", json={"path": str(tmp_path / "told")}, headers={"Snakepit-Timeout": "0.2"})
    assert (answer.status_code, answer.json()["reason"]) == (504, "DEADLINE")


async def test_a_key_runs_a_call_once(pools: httpx.AsyncClient) -> None:
    await pools.put("notes/sessions/once")
    headers = {"Snakepit-Session": "once", "Idempotency-Key": '"5c1b"'}
    for quoted in ('"5c1b"', "5c1b"):
        headers["Idempotency-Key"] = quoted
        assert (await pools.post("notes/tools/add", json={"text": "tea"}, headers=headers)).json() == 1


async def test_who_hangs_up_interrupts_the_tool(pools: httpx.AsyncClient, tmp_path: Path) -> None:
    told = tmp_path / "told"
    call = asyncio.create_task(pools.post("front/tools/quiet", json={"path": str(told)}))
    await eventually(told.exists, "the tool runs")
    call.cancel()
    await eventually(lambda: told.read_text() == "interrupted", "the tool was interrupted")


async def test_a_large_result_names_its_worker_and_comes_whole(pools: httpx.AsyncClient) -> None:
    answer = await pools.post("front/tools/blob", json={"size": 5_000_000})
    assert len(answer.content) == 5_000_000
    assert answer.headers["Snakepit-Worker"].startswith("front-")


async def test_large_json_goes_up_and_comes_back(pools: httpx.AsyncClient) -> None:
    text = "x" * 1_000_000
    assert (await pools.post("front/tools/double", content=json.dumps({"value": text}))).json() == [text, text]
