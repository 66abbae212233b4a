"""More requests at a time than a gateway takes: each is told so, nobody is shut out by one, and probes are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from snakepit_control_plane.server import Running
from snakepit_gateway import bounds
from snakepit_gateway import server as server_module
from support.gateway import served

NOBODY = ("192.0.2.0/24",)
"""No address of this machine is a proxy's."""
SLOW = b"POST /v1/pools/default/none/tools/t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n%s\r\n{"
"""A request whose body never comes whole: it runs."""
ASKS = b"GET /v1/pools/default/none HTTP/1.1\r\nHost: localhost\r\n\r\n"
PROBE = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Crowding:
    """Connections to one gateway, from addresses of this machine."""

    def __init__(self, url: str) -> None:
        self._port = httpx.URL(url).port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, data: bytes = b"", *, of: str = "127.0.0.1") -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(of, 0))
        self._writers.append(writer)
        writer.write(data)
        return reader

    async def ask(self, data: bytes = ASKS, *, of: str = "127.0.0.1") -> httpx.Response:
        """On a connection of its own."""
        async with asyncio.timeout(20):
            reader = await self.connect(data, of=of)
            head = await reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode().strip().split("\r\n")
            headers = httpx.Headers([tuple(each.split(": ", 1)) for each in lines])
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            at_end = headers.get("connection") != "close" or await reader.read() == b""
        assert at_end
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)

    async def run(self, count: int, *, of: str = "127.0.0.1", head: bytes = b"") -> None:
        """So many requests that don't end."""
        for _ in range(count):
            await self.connect(SLOW % head, of=of)

    def close(self) -> None:
        for each in self._writers:
            each.close()


@contextlib.asynccontextmanager
async def crowding(server: Running, **settings: Any) -> AsyncIterator[Crowding]:
    async with served(server.address, **settings) as url:
        made = Crowding(url)
        try:
            yield made
        finally:
            made.close()


async def told(crowd: Crowding, status: int, *, of: str = "127.0.0.1", data: bytes = ASKS) -> httpx.Response:
    """What is asked again until it is answered so: those before it may still be on their way."""
    async with asyncio.timeout(20):
        while (answer := await crowd.ask(data, of=of)).status_code != status:
            await asyncio.sleep(0.01)
    return answer


async def test_where_all_requests_run_one_more_is_told_and_probes_are_answered(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SPARE_CONNECTIONS", 4)
    async with crowding(server, max_requests=5) as crowd:
        await crowd.run(5)
        refused = await told(crowd, 503)
        assert (refused.json()["reason"], refused.json()["details"]) == ("GATEWAY_FULL", {"limit": "SNAKEPIT_GATEWAY_MAX_REQUESTS"})
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        for _ in range(20):
            await crowd.connect()  # Who says nothing.
        for path in (b"/healthz", b"/readyz"):
            probed = await crowd.ask(PROBE % path)
            assert (probed.status_code, probed.text, probed.headers["connection"]) == (200, "ok\n", "close")
        assert (await crowd.ask()).status_code == 503


async def test_a_request_that_ends_makes_room(server: Running) -> None:
    async with crowding(server, max_requests=1) as crowd:
        await crowd.run(1)
        await told(crowd, 503)
        crowd.close()
        assert (await told(crowd, 404)).json()["reason"] == "POOL_NOT_FOUND"


async def test_one_address_does_not_shut_out_another(server: Running) -> None:
    async with crowding(server, max_requests=100, max_requests_per_address=3, proxies=NOBODY) as crowd:
        await crowd.run(3, of="127.0.0.2")
        refused = await told(crowd, 429, of="127.0.0.2")
        assert (refused.json()["reason"], refused.headers["retry-after"]) == ("CALLER_LIMIT", "1")
        assert "3 requests of 127.0.0.2 run at this gateway" in refused.json()["detail"]
        assert (await crowd.ask(PROBE % b"/healthz", of="127.0.0.2")).status_code == 200
        assert (await crowd.ask(of="127.0.0.3")).status_code == 404


async def test_a_proxy_has_no_share_and_its_callers_have_each_their_own(server: Running) -> None:
    """Who isn't a proxy is not believed either: it would use up somebody else's share."""
    mine, others = b"X-Forwarded-For: 203.0.113.1, 198.51.100.7\r\n", b"X-Forwarded-For: 198.51.100.7, 203.0.113.1\r\n"
    asks = ASKS.replace(b"\r\n\r\n", b"\r\n%s\r\n")
    async with crowding(server, max_requests=100, max_requests_per_address=3, proxies=("127.0.0.2/32",)) as crowd:
        await crowd.run(10, of="127.0.0.2")
        await crowd.run(3, of="127.0.0.2", head=mine)
        assert "198.51.100.7" in (await told(crowd, 429, of="127.0.0.2", data=asks % mine)).json()["detail"]
        assert (await crowd.ask(asks % others, of="127.0.0.2")).status_code == 404
        assert (await crowd.ask(of="127.0.0.2")).status_code == 404
        await crowd.run(3, of="127.0.0.3", head=others)
        assert "127.0.0.3" in (await told(crowd, 429, of="127.0.0.3", data=asks % others)).json()["detail"]
        assert (await crowd.ask(asks % others, of="127.0.0.2")).status_code == 404


async def test_of_a_long_way_by_proxies_the_end_is_looked_at(server: Running) -> None:
    """Each address on it is looked for among proxies: half a MiB of them would be a third of a second of everybody's."""
    asks = ASKS.replace(b"\r\n\r\n", b"\r\n%s\r\n")
    proxy, caller = b"X-Forwarded-For: 127.0.0.2\r\n", b"X-Forwarded-For: 203.0.113.1, 198.51.100.7\r\n"
    async with crowding(server, max_requests=100, max_requests_per_address=1, proxies=("127.0.0.2/32",)) as crowd:
        await crowd.run(1, of="127.0.0.2", head=caller)
        for way in (caller, proxy * 100 + caller, caller + proxy * 10):
            assert "198.51.100.7" in (await told(crowd, 429, of="127.0.0.2", data=asks % way)).json()["detail"]
        assert (await crowd.ask(asks % (caller + proxy * 100), of="127.0.0.2")).status_code == 404


async def test_a_small_body_is_not_waited_for_without_end(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PATIENCE_SECONDS", 0.3)
    async with crowding(server) as crowd:
        answer = await crowd.ask(SLOW % b"")
        assert (answer.status_code, answer.json()["reason"]) == (408, "REQUEST_TIMEOUT")
