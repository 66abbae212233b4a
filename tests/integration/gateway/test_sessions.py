"""Sessions and their state over HTTP, and what is said of pools, tools and workers."""

from __future__ import annotations

import httpx
import pytest


async def test_a_session_is_made_once_looked_at_and_ended(pools: httpx.AsyncClient) -> None:
    made = await pools.put("front/sessions/life", json={"ttlSeconds": 60, "metadata": {"who": "ada"}})
    assert (made.status_code, made.json()["ttlSeconds"], made.json()["metadata"]) == (201, 60, {"who": "ada"})
    assert (await pools.put("front/sessions/life")).status_code == 200
    assert (await pools.get("front/sessions/life")).json()["id"] == "life"
    assert (await pools.delete("front/sessions/life")).status_code == 204
    for gone in (await pools.get("front/sessions/life"), await pools.delete("front/sessions/life")):
        assert (gone.status_code, gone.json()["reason"]) == (404, "SESSION_NOT_FOUND")


@pytest.mark.parametrize("body", [b"[]", b'{"ttl": 3}', b'{"metadata": {"a": 1}}', b"\xff", b'{"ttlSeconds": -1}'])
async def test_a_session_that_cannot_be_is_refused(pools: httpx.AsyncClient, body: bytes) -> None:
    answer = await pools.put("front/sessions/never", content=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENTS")


async def test_state_is_written_over_the_version_that_was_read_alone(pools: httpx.AsyncClient) -> None:
    await pools.put("front/sessions/cas")
    key = "front/sessions/cas/state/a/b"
    first = await pools.put(key, json={"n": 1}, headers={"If-None-Match": "*"})
    assert (first.status_code, first.headers["ETag"]) == (204, '"1"')
    assert (await pools.put(key, json=0, headers={"If-None-Match": "*"})).status_code == 412
    second = await pools.put(key, json={"n": 2}, headers={"If-Match": first.headers["ETag"]})
    assert second.headers["ETag"] == '"2"'
    stale = await pools.put(key, json={"n": 3}, headers={"If-Match": first.headers["ETag"]})
    assert (stale.status_code, stale.json()["reason"]) == (412, "PRECONDITION_FAILED")
    read = await pools.get(key)
    assert (read.json(), read.headers["ETag"]) == ({"n": 2}, '"2"')
    assert (await pools.get("front/sessions/cas/state")).json()["items"] == [{"key": "a/b", "version": 2}]
    assert (await pools.delete(key)).status_code == 204
    assert (await pools.get(key)).json()["reason"] == "KEY_NOT_FOUND"
    again = await pools.put(key, json=1, headers={"If-None-Match": "*"})
    assert again.headers["ETag"] == (await pools.get(key)).headers["ETag"]


async def test_bytes_are_kept_as_bytes(pools: httpx.AsyncClient) -> None:
    await pools.put("front/sessions/bytes")
    await pools.put("front/sessions/bytes/state/file", content=b"\x00\xff", headers={"Content-Type": "application/octet-stream"})
    read = await pools.get("front/sessions/bytes/state/file")
    assert (read.content, read.headers["Content-Type"]) == (b"\x00\xff", "application/octet-stream")


@pytest.mark.parametrize(
    "headers", [{"If-Match": "3"}, {"If-Match": '"0"'}, {"If-None-Match": '"3"'}, {"If-Match": '"1"', "If-None-Match": "*"}]
)
async def test_a_condition_that_is_none_is_refused(pools: httpx.AsyncClient, headers: dict[str, str]) -> None:
    await pools.put("front/sessions/wrong")
    answer = await pools.put("front/sessions/wrong/state/key", json=1, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENTS")


async def test_lists_come_in_pages(pools: httpx.AsyncClient) -> None:
    names = []
    after: str | None = ""
    while after is not None:
        page = (await pools.get("front/tools", params={"limit": 4, "after": after})).json()
        names += [each["name"] for each in page["items"]]
        after = page["next"]
    assert names == sorted(names)
    assert {"picture", "blob"} < set(names)
    for number in range(3):
        await pools.put(f"front/sessions/page-{number}")
    found: list[str] = []
    after = ""
    while after is not None:
        page = (await pools.get("front/sessions", params={"limit": 2, "after": after})).json()
        found += [each["id"] for each in page["items"]]
        after = page["next"]
    assert {"page-0", "page-1", "page-2"} <= set(found)
    assert len(found) == len(set(found))
    assert (await pools.get("front/tools", params={"limit": "many"})).json()["reason"] == "INVALID_ARGUMENTS"


async def test_pools_and_workers_are_as_the_command_line_says_them(pools: httpx.AsyncClient) -> None:
    every = (await pools.get(str(pools.base_url.join("/v1/pools")))).json()["items"]
    assert [each["name"] for each in every] == ["default/front", "default/notes"]
    assert (await pools.get("front")).json()["readyWorkers"] == 1
    (worker,) = (await pools.get("front/workers")).json()["items"]
    assert (worker["state"], worker["slots"]) == ("ready", 1)
    assert (await pools.get(str(pools.base_url.join("/v1/whoami")))).json()["subject"] == ""
    assert (await pools.get("nowhere")).json()["reason"] == "POOL_NOT_FOUND"
    assert (await pools.get("front/tools/picture")).json()["idempotent"] is True
