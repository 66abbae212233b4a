"""What a gateway says to Prometheus, at a port of its own: requests by route, streams, and requests of MCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from mcp import Client as McpClient
from mcp.shared.exceptions import MCPError

from snakepit_control_plane.server import Running
from support.dev_server import Dev
from support.eventually import eventually
from support.gateway import served
from support.metrics import Scrape, answered, scrape
from support.otlp import receiving
from support.ports import free_port

SESSION = "/v1/pools/{namespace}/{pool}/sessions/{session}"
TOOL = "/v1/pools/{namespace}/{pool}/tools/{tool}"
DURATION = "http_server_request_duration_seconds_count"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def url(stage: Dev, port: int) -> AsyncIterator[str]:
    async with served(stage.server, metrics=f"127.0.0.1:{port}") as serving:
        yield serving


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=20) as asking:
        yield asking


def requests(method: str, route: str, status: int) -> tuple[str, dict[str, str]]:
    said = {"http_request_method": method, "url_scheme": "http", "http_route": route, "http_response_status_code": str(status)}
    return DURATION, said | {"error_type": str(status) if status >= 500 else ""}


async def test_requests_are_counted_by_the_template_of_their_path(http: httpx.AsyncClient, port: int) -> None:
    for value in ("tea", "milk"):
        assert (await http.post("/v1/pools/default/front/tools/double", json={"value": value})).is_success
    assert (await http.post("/v1/pools/default/front/tools/nothing", json={})).status_code == 404
    assert (await http.post("/v1/pools/default/front/tools/broken", json={})).status_code == 500
    for path in ("/nowhere", "/nowhere/else"):
        assert (await http.get(path)).status_code == 404
    assert (await http.request("PROPFIND", "/healthz")).status_code == 405
    found = await scrape(f"127.0.0.1:{port}")
    assert found[requests("POST", TOOL, 200)] == 2
    assert found[requests("POST", TOOL, 404)] == 1
    assert found[requests("POST", TOOL, 500)] == 1
    assert found[requests("GET", "", 404)] == 2, "however many paths there are not, they are one series"
    assert found[requests("_OTHER", "/healthz", 405)] == 1
    assert found.total("http_server_active_requests") == 0


async def test_a_caller_that_hung_up_before_there_was_an_answer_is_told_apart(http: httpx.AsyncClient, port: int, tmp_path: Path) -> None:
    call = asyncio.create_task(http.post("/v1/pools/default/front/tools/quiet", json={"path": str(tmp_path / "told")}))

    async def active() -> bool:
        return (await scrape(f"127.0.0.1:{port}")).total("http_server_active_requests", http_request_method="POST") == 1

    await eventually(active, "it runs")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    async def counted() -> Scrape | None:
        found = await scrape(f"127.0.0.1:{port}")
        return found if found.series(DURATION, http_response_status_code="499") else None

    found = await eventually(counted, "it is over")
    assert found[requests("POST", TOOL, 499)] == 1
    assert found.total("http_server_active_requests") == 0


@pytest.mark.parametrize(
    ("asked", "media_type", "route"),
    [
        ("PUT /v1/pools/default/front/sessions/s", "application/json", SESSION),
        ("PUT /v1/pools/default/front/sessions/s/state/k", "application/json", f"{SESSION}/state/{{key:path}}"),
        ("POST /v1/pools/default/front/tools/double", "application/json", TOOL),
        ("POST /v1/pools/default/front/tools/double", "multipart/form-data; boundary=b", TOOL),
    ],
)
async def test_a_caller_that_hung_up_in_the_middle_of_its_body_is_no_defect(
    url: str, port: int, caplog: pytest.LogCaptureFixture, asked: str, media_type: str, route: str
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    head = f"{asked} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: 100\r\n"
    writer.write(f"{head}Accept: application/json, text/event-stream\r\n\r\n--b".encode())
    await writer.drain()
    method = asked.partition(" ")[0]

    async def active() -> bool:
        return (await scrape(f"127.0.0.1:{port}")).total("http_server_active_requests", http_request_method=method) == 1

    await eventually(active, "its body is waited for")
    writer.close()

    async def counted() -> Scrape | None:
        found = await scrape(f"127.0.0.1:{port}")
        return found if found.series(DURATION, http_request_method=method) else None

    found = await eventually(counted, "it is over")
    assert found[requests(method, route, 499)] == 1
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize(("accept", "kind"), [("text/event-stream", "sse"), ("application/x-ndjson", "ndjson")])
async def test_a_stream_is_seen_for_as_long_as_it_lasts(http: httpx.AsyncClient, port: int, tmp_path: Path, accept: str, kind: str) -> None:
    async def streams() -> float:
        return (await scrape(f"127.0.0.1:{port}")).total("snakepit_gateway_streams", kind=kind)

    given = {"path": str(tmp_path / "told"), "size": 1}
    async with http.stream("POST", "/v1/pools/default/front/tools/endless", json=given, headers={"Accept": accept}):
        assert await eventually(streams, "it streams") == 1

    async def none() -> bool:
        return await streams() == 0

    await eventually(none, "it is over")


async def test_the_consoles_pages_are_seen_while_they_are_open(http: httpx.AsyncClient, port: int) -> None:
    async def open_pages() -> float:
        return (await scrape(f"127.0.0.1:{port}")).total("snakepit_gateway_streams", kind="console")

    async with http.stream("GET", "/?live=1"):
        await eventually(open_pages, "a page is open")


async def test_requests_of_mcp_are_counted_by_method_and_how_they_ended(url: str, port: int) -> None:
    async with McpClient(f"{url}/mcp/default/front") as client:
        await client.list_tools()
        assert not (await client.call_tool("double", {"value": 1})).is_error
        assert (await client.call_tool("double", {})).is_error
        with pytest.raises(MCPError, match="nothing"):
            await client.call_tool("nothing", {})
    found = await scrape(f"127.0.0.1:{port}")

    def count(method: str, outcome: str) -> float:
        return found.total("snakepit_gateway_mcp_requests_total", method=method, outcome=outcome)

    assert count("tools/list", "OK") >= 1
    assert [count("tools/call", outcome) for outcome in ("OK", "TOOL_ERROR", "ERROR")] == [1, 1, 1]


async def test_metrics_are_not_where_the_public_is_and_nowhere_unless_it_is_said(http: httpx.AsyncClient, server: Running) -> None:
    assert (await http.get("/metrics")).status_code == 404
    port = free_port()
    async with served(server.address):
        assert await answered(f"127.0.0.1:{port}") is None


async def test_whoever_scrapes_is_told_of_the_process_and_of_room_for_bodies(url: str, port: int) -> None:
    found = await scrape(f"127.0.0.1:{port}")
    assert found.labels("snakepit_build_info", "component") == {"gateway"}
    assert found["process_resident_memory_bytes", {}] > 1 << 20
    assert found["snakepit_gateway_held_bytes", {}] == 0


async def test_the_same_is_pushed_over_otlp_also_without_a_port(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
        async with served(server.address) as url, httpx.AsyncClient(base_url=url) as http:
            await http.get("/healthz")
            requests = "snakepit-gateway", "http_server_request_duration_seconds"
            await eventually(lambda: requests in collector.metrics.metrics, "a request is pushed")


async def test_a_gateway_whose_port_is_taken_says_which_and_does_not_start(server: Running, port: int) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    async with taken:
        with pytest.raises(OSError, match=f"metrics can't be served at 127.0.0.1:{port} .SNAKEPIT_GATEWAY_METRICS_LISTEN.: Address"):
            async with served(server.address, metrics=f"127.0.0.1:{port}"):
                pass
