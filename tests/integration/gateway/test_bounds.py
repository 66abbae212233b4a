"""What every request goes through first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from snakepit_control_plane.server import Running
from snakepit_gateway import bounds, room
from snakepit_gateway import server as server_module
from support.control_plane import eventually
from support.gateway import gateway, served
from support.simulated_agent import POOL, simulated_agent

MIB = 1 << 20
GOOD = b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HANG = (
    f"POST /v1/pools/{POOL}/tools/hang HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
).encode()
ELSEWHERE = "https://elsewhere.example"


async def test_a_request_id_is_given_back_and_made_where_there_is_none(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz", headers={"X-Request-Id": "mine-1"})).headers["X-Request-Id"] == "mine-1"
    made = (await http.get("/healthz", headers={"X-Request-Id": "no\ttabs"})).headers["X-Request-Id"]
    assert len(made) == 16


async def test_a_path_and_a_method_that_are_not_served_are_problems(http: httpx.AsyncClient) -> None:
    missing = await http.get("/v2/pools")
    assert (missing.status_code, missing.json()["reason"]) == (404, "PATH_NOT_FOUND")
    assert missing.json()["detail"] == (
        "nothing is served at /v2/pools: a tool is at /v1/pools/{namespace}/{pool}/tools/{tool}, and /v1/pools lists the pools"
    )
    assert missing.headers["Content-Type"] == "application/problem+json"
    wrong = await http.delete("/healthz")
    assert (wrong.status_code, wrong.json()["reason"]) == (405, "METHOD_NOT_ALLOWED")
    assert "GET" in wrong.headers["Allow"]


@pytest.mark.parametrize(
    "headers", [{"Host": "rebound.example"}, {"Origin": ELSEWHERE}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_a_page_of_another_site_is_refused(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.post("/healthz", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (403, "FOREIGN_ORIGIN")


@pytest.mark.parametrize("headers", [{"Host": "127.0.0.1:7880"}, {"Host": "[::1]:7880"}, {"Origin": "http://localhost"}])
async def test_a_page_of_its_own_is_not(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await http.get("/healthz", headers=headers)).status_code == 200


async def test_origins_that_are_listed_may_ask_from_a_browser(server: Running) -> None:
    async with gateway(server.address, cors_origins=(ELSEWHERE,)) as http:
        asked = {"Origin": ELSEWHERE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "snakepit-session"}
        before = await http.options("/healthz", headers=asked)
        assert before.headers["Access-Control-Allow-Origin"] == ELSEWHERE
        assert "snakepit-session" in before.headers["Access-Control-Allow-Headers"]
        after = await http.get("/healthz", headers={"Origin": ELSEWHERE})
        assert "Snakepit-Call-Id" in after.headers["Access-Control-Expose-Headers"]


async def test_nobody_may_until_origins_are_listed(http: httpx.AsyncClient) -> None:
    asked = {"Origin": ELSEWHERE, "Access-Control-Request-Method": "POST"}
    assert "Access-Control-Allow-Origin" not in (await http.options("/healthz", headers=asked)).headers


async def test_a_limit_is_named_where_it_is_met(server: Running) -> None:
    async with served(server.address, max_body_bytes=1000) as url, httpx.AsyncClient(base_url=url) as http:
        long = await http.get("/healthz", headers={"X-Long": "x" * 40_000})
        assert (long.status_code, long.json()["details"]["limit"]) == (431, "MAX_HEADER_BYTES")
        large = await http.post("/healthz", content=b"x" * 1001)
        assert (large.status_code, large.json()["details"]["limit"]) == (413, "SNAKEPIT_GATEWAY_MAX_BODY_BYTES")


@pytest.mark.parametrize("path", ["/v1/pools/default/none/tools/t", "/mcp/default/none"])
async def test_who_takes_the_room_of_others_and_sends_nothing_is_let_go(
    server: Running, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(bounds, "PATIENCE_SECONDS", 2.5)
    monkeypatch.setattr(room, "WAIT_SECONDS", 15.0)
    async with served(server.address, max_body_bytes=MIB, max_held_bytes=MIB) as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        writer.write(f"{head}Accept: application/json, text/event-stream\r\n\r\n1\r\n{{\r\n".encode())
        await writer.drain()
        other = asyncio.create_task(http.post("/v1/pools/default/none/tools/t", content=b" " * (MIB - 2) + b"{}"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        assert b'"REQUEST_TIMEOUT"' in await reader.readuntil(b"}")
        assert (await other).json()["reason"] == "POOL_NOT_FOUND"
        writer.close()


async def test_small_bodies_that_do_not_end_are_no_more_bytes_than_large_ones(server: Running) -> None:
    """Five of them are more than there may be: one is told so, and a place is free as soon as they have gone."""
    head = "POST /v1/pools/default/none/tools/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    half = head.format(room.LARGE_BYTES).encode() + b" " * (room.LARGE_BYTES - 1)
    async with served(server.address, max_body_bytes=MIB, max_held_bytes=MIB) as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        slow = [await asyncio.open_connection("127.0.0.1", httpx.URL(url).port) for _ in range(5)]
        for _, writer in slow:
            writer.write(half)
        told = [asyncio.create_task(reader.readline()) for reader, _ in slow]
        done, others = await asyncio.wait(told, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert {each.result() for each in done} == {b"HTTP/1.1 503 Service Unavailable\r\n"}
        for each in others:
            each.cancel()
        for _, writer in slow:
            writer.close()

        async def free() -> bool:
            answer = await http.post("/v1/pools/default/none/tools/t", content=b" " * (room.LARGE_BYTES - 2) + b"{}")
            return bool(answer.json()["reason"] == "POOL_NOT_FOUND")

        await eventually(free, "they have gone")


async def test_a_large_body_that_comes_is_waited_for(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PATIENCE_SECONDS", 3.0)

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(8):
            await asyncio.sleep(0.5)
            yield b" " * (MIB // 8)
        yield b"{}"

    async with served(server.address, max_body_bytes=2 * MIB) as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        answer = await http.post("/v1/pools/default/none/tools/t", content=slowly())
        assert answer.json()["reason"] == "POOL_NOT_FOUND"


@pytest.mark.parametrize("endless", [b"GET /healthz HTTP/1.1\r\nX-Endless: ", b"GET /"])
async def test_a_head_without_an_end_is_cut_off(server: Running, endless: bytes) -> None:
    async with served(server.address) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        sent = 0
        with contextlib.suppress(ConnectionError):
            writer.write(endless)
            while sent < 16 << 20 and not reader.at_eof():
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
                await asyncio.sleep(0)
        assert sent < 16 << 20
        writer.close()


@pytest.mark.parametrize(
    "half",
    [b"", b"GET /healthz HTTP/1.1\r\nX-Slow: ", GOOD + b"GET /healthz HTTP/1.1\r\n"],
    ids=["nothing", "half", "half of the second"],
)
async def test_a_head_that_does_not_come_is_not_waited_for(server: Running, monkeypatch: pytest.MonkeyPatch, half: bytes) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.5)
    async with served(server.address) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(half)
        async with asyncio.timeout(20):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200" if half.startswith(GOOD) else b"")
        writer.close()


async def test_who_goes_on_with_nothing_after_an_answer_is_not_waited_for(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.5)
    async with served(server.address) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(GOOD)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\r\n")
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


async def test_a_request_that_runs_is_not_cut_by_half_of_the_next(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.5)
    async with served(server.address) as url, simulated_agent(server.address) as agent:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(HANG + GOOD[:20])
        await eventually(lambda: agent.running, "it runs")
        nobody, silent = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        async with asyncio.timeout(20):
            assert await nobody.read() == b"", "whoever came later has had its time"
            agent.let_go()
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
        for each in (writer, silent):
            each.close()


async def test_a_connection_that_has_brought_a_request_is_kept(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.3)
    async with served(server.address) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        begun = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begun + 1.0:
            writer.write(GOOD)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.1)
        writer.close()


async def test_of_too_many_connections_the_one_is_hung_up_on_that_has_been_idle_for_longest(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SPARE_CONNECTIONS", 2)
    async with served(server.address, max_requests=2) as url:
        port = httpx.URL(url).port
        busy_reader, busy = await asyncio.open_connection("127.0.0.1", port)
        busy.write(b"POST /v1/pools/default/none/tools/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        crowd = list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            crowd.append((reader, writer))
            writer.write(GOOD)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(20):
            assert [await reader.read() for reader, _ in crowd[:7]] == [b""] * 7
        assert not any(reader.at_eof() for reader, _ in crowd[7:])
        busy.write(b"}")
        assert (await busy_reader.readline()).startswith(b"HTTP/1.1 404"), "a request that has begun is no idle connection"
        for writer in (busy, *(each for _, each in crowd)):
            writer.close()


async def test_a_request_that_came_behind_another_one_is_no_idle_connection(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SPARE_CONNECTIONS", 1)
    async with served(server.address, max_requests=1) as url, simulated_agent(server.address) as agent:
        port = httpx.URL(url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD + HANG)
        await eventually(lambda: agent.running, "it runs")
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        async with asyncio.timeout(20):
            assert await crowd[0][0].read() == b""
            agent.let_go()
            await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for each in (writer, *(each for _, each in crowd)):
            each.close()
