"""Who hangs up in the middle of a request has made no failure: nothing is logged as one, nor counted."""

from __future__ import annotations

import asyncio
import logging

import pytest

from snakepit_control_plane.server import Running
from support.eventually import eventually
from support.gateway import served
from support.metrics import scrape
from support.ports import free_port
from support.simulated_agent import POOL, simulated_agent

DURATION = "http_server_request_duration_seconds_count"
HUNG_UP = "499"


@pytest.mark.parametrize(
    ("path", "version"),
    [(f"/mcp/{POOL}", ""), (f"/mcp/{POOL}", "2026-07-28"), (f"/v1/pools/{POOL}/tools/echo", "")],
    ids=["MCP before 2026-07-28", "MCP", "HTTP"],
)
async def test_a_body_that_breaks_off_is_told_in_one_quiet_line(
    server: Running, caplog: pytest.LogCaptureFixture, path: str, version: str
) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    head = ["Content-Type: application/json", "Accept: application/json, text/event-stream", "Content-Length: 100"]
    head += [f"MCP-Protocol-Version: {version}"] if version else []
    async with simulated_agent(server.address), served(server.address, metrics=metrics) as url:
        host, port = url.removeprefix("http://").split(":")
        with caplog.at_level(logging.DEBUG):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write("\r\n".join([f"POST {path} HTTP/1.1", f"Host: {host}:{port}", *head, "", '{"jsonrpc":']).encode())
            await writer.drain()

            async def begun() -> bool:
                return (await scrape(metrics)).total("http_server_active_requests", http_request_method="POST") == 1

            await eventually(begun, "it has begun")
            writer.close()
            await eventually(lambda: [each for each in caplog.records if "hung up" in each.getMessage()], "it is told")
        seen = await scrape(metrics)
    told = [each for each in caplog.records if "hung up" in each.getMessage()]
    assert [(each.levelno, each.exc_info) for each in told] == [(logging.DEBUG, None)]
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert {dict(each)["http_response_status_code"] for each in seen.series(DURATION, http_request_method="POST")} == {HUNG_UP}
