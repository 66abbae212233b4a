"""Tools of real workers through MCP: what becomes of results, errors, progress, streams and sessions, for clients of both eras."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import AudioContent, CallToolResult, EmbeddedResource, ImageContent, TextContent

from support.clients import mcp_client
from support.dev_server import Dev, pool_file, ready_dev
from support.everything import PNG, WAV


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("pools")
    everything = pool_file(folder, "everything", "support.everything:Everything", worker="profile: thread", replicas="1")
    with ready_dev(everything, "--gateway", "127.0.0.1:0") as program:
        yield program


@pytest.fixture
def url(server: Dev) -> str:
    return f"{server.gateway}/mcp/default/everything"


def in_both_eras(test: Callable[[Client], Awaitable[None]]) -> Any:
    """The same for a client of 2026-07-28, and for one of before, which opens with a handshake."""

    @pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
    async def run(url: str, mode: Any) -> None:
        async with Client(url, mode=mode) as client:
            await test(client)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def text(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@in_both_eras
async def test_what_can_not_be_carried_is_told_beside_the_result(client: Client) -> None:
    """Eight sentences at most, however many pieces a stream has."""
    result = await client.call_tool("model")
    assert result.structured_content is not None
    assert result.structured_content["name"] == "m"
    assert result.meta is not None
    (told,) = result.meta["snakepit.dev/warnings"]
    assert told.startswith("$.lock is a _thread.lock, which can't be carried")
    stream = await client.call_tool("models")
    assert stream.meta is not None
    assert len(stream.meta["snakepit.dev/warnings"]) == 8


@in_both_eras
async def test_tools_are_listed_sorted_with_what_their_author_said(client: Client) -> None:
    listed = (await client.list_tools()).tools
    names = [each.name for each in listed]
    assert names == sorted(names)
    tools = {each.name: each for each in listed}
    simple, point = tools["test_simple_text"], tools["point"]
    assert (simple.title, simple.description) == ("Text", "A text.")
    assert simple.annotations is not None
    assert point.annotations is not None
    assert (simple.annotations.read_only_hint, simple.annotations.destructive_hint) == (True, False)
    assert (point.annotations.read_only_hint, point.annotations.destructive_hint, point.annotations.idempotent_hint) == (False, True, True)
    assert point.input_schema["required"] == ["x"]
    assert set(point.input_schema["properties"]) == {"x", "session"}
    assert point.output_schema is not None
    assert point.output_schema["properties"]["x"] == {"type": "integer"}
    assert tools["whose"].input_schema["properties"] == {"session": {"type": "string"}}
    assert tools["test_simple_text"].output_schema == {
        "type": "object",
        "properties": {"result": {"type": "string"}},
        "required": ["result"],
    }
    assert tools["mixed"].output_schema is None
    assert tools["test_image_content"].output_schema is None


@in_both_eras
async def test_results_are_structured_and_text(client: Client) -> None:
    await client.list_tools()  # then the client holds results against the schemas
    point = await client.call_tool("point", {"x": 3})
    assert point.structured_content == {"x": 3, "note": None}
    assert text(point) == '{"x":3,"note":null}'
    simple = await client.call_tool("test_simple_text")
    assert (simple.structured_content, text(simple)) == ({"result": text(simple)}, "This is a simple text response for testing.")
    assert (await client.call_tool("maybe", {"value": None})).structured_content == {"result": None}
    assert (await client.call_tool("maybe", {"value": 3})).structured_content == {"result": 3}
    assert (await client.call_tool("mixed", {"value": {"a": 1}})).structured_content == {"a": 1}
    assert (await client.call_tool("mixed", {"value": [1]})).structured_content == {"result": [1]}


@in_both_eras
async def test_bytes_with_a_media_type_are_image_audio_or_resource(client: Client) -> None:
    (image,) = (await client.call_tool("test_image_content")).content
    assert isinstance(image, ImageContent)
    assert (image.mime_type, base64.b64decode(image.data)) == ("image/png", PNG)
    (audio,) = (await client.call_tool("test_audio_content")).content
    assert isinstance(audio, AudioContent)
    assert (audio.mime_type, base64.b64decode(audio.data)) == ("audio/wav", WAV)
    (raw,) = (await client.call_tool("raw")).content
    assert isinstance(raw, EmbeddedResource)
    assert raw.resource.model_dump(exclude_none=True) == {
        "uri": "snakepit://default/everything/raw/0",
        "mime_type": "application/octet-stream",
        "blob": "/wA=",
    }
    files = await client.call_tool("files")
    assert [each.type for each in files.content] == ["image", "text"]
    assert files.structured_content == {
        "n": 1,
        "none": None,
        "raw": "/w==",
        "chart": {"$content": 0},
        "array": [[1.5, 2.0], [3.0, 4.0]],
    }


@in_both_eras
async def test_files_in_an_object_with_a_schema_are_blocks_and_the_schema_says_what_stands_in_their_places(client: Client) -> None:
    await client.list_tools()  # then the client holds results against the schemas
    page = await client.call_tool("page")
    assert [each.type for each in page.content] == ["image", "text"]
    assert page.structured_content == {"title": "sales", "charts": [{"$content": 0}, "/w=="]}


@in_both_eras
async def test_errors_say_what_a_model_needs_to_do_better(client: Client) -> None:
    failed = await client.call_tool("test_error_handling")
    assert failed.is_error
    assert text(failed) == "RuntimeError: This tool intentionally returns an error for testing"
    wrong = await client.call_tool("point", {"x": "three"})
    assert wrong.is_error
    assert text(wrong).startswith("argument `x`: Expected `int`, got `str`")
    assert wrong.meta is not None
    assert wrong.meta["snakepit.dev/error"] == {"reason": "INVALID_ARGUMENTS", "started": "no", "details": {}}
    with pytest.raises(MCPError, match="pointt") as caught:
        await client.call_tool("pointt", {"x": 1})
    assert caught.value.error.code == -32602
    assert caught.value.error.data["reason"] == "TOOL_NOT_FOUND"


@in_both_eras
async def test_progress_is_progress_and_a_stream_tells_of_each_piece(client: Client) -> None:
    heard: list[Any] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    assert text(await client.call_tool("test_tool_with_progress", progress_callback=hear)) == "done"
    assert heard == [(0.0, 1.0, "0%"), (0.5, 1.0, "50%"), (1.0, 1.0, "100%")]
    heard.clear()
    await client.list_tools()
    words = await client.call_tool("words", {"count": 3}, progress_callback=hear)
    assert (text(words), words.structured_content) == ("0 1 2 ", {"result": ["0 ", "1 ", "2 "]})
    assert heard == [(1.0, None, "0 "), (2.0, None, "1 "), (3.0, None, "2 ")]
    rows = await client.call_tool("rows", {"count": 2})
    assert rows.structured_content == {"result": [{"x": 0, "note": None}, {"x": 1, "note": None}]}
    endless = await client.call_tool("words", {"count": 20_000})
    assert endless.is_error
    assert text(endless).startswith("PAYLOAD_TOO_LARGE (started: yes)")


@in_both_eras
async def test_what_a_tool_that_streams_says_is_progress_between_its_pieces(client: Client) -> None:
    heard: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:

        def note(*said: Any) -> None:
            heard.append(said)
            Path(folder, said[-1]).touch()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            note(progress, total, message)

        stages = await client.call_tool("stages", {"count": 2, "path": f"{folder}/stage "}, progress_callback=hear)
    assert stages.structured_content == {"result": ["0 ", "1 "]}
    assert heard == [(0.5, 1.0, "stage 0"), (1.5, None, "0 "), (2.0, None, "stage 1"), (3.0, None, "1 ")]


@in_both_eras
async def test_a_session_is_a_handle_that_every_tool_takes(client: Client) -> None:
    opened = await client.call_tool("open_session")
    assert opened.structured_content is not None
    handle = opened.structured_content["session"]
    await client.call_tool("remember", {"value": "tea", "session": handle})
    assert (await client.call_tool("recall", {"session": handle})).structured_content == {"result": "tea"}
    other = (await client.call_tool("open_session")).structured_content
    assert other is not None
    assert (await client.call_tool("recall", {"session": other["session"]})).structured_content == {"result": None}
    gone = await client.call_tool("recall", {"session": "never-was"})
    assert gone.is_error
    assert text(gone).startswith("SESSION_NOT_FOUND (started: no)")
    assert "open_session" in text(gone)
    assert (await client.call_tool("whose", {"session": "mine"})).structured_content == {"result": "mine"}


async def test_sessions_can_be_left_out(url: str) -> None:
    async with Client(f"{url}?sessions=off") as client:
        tools = {each.name: each for each in (await client.list_tools()).tools}
        assert "open_session" not in tools
        assert set(tools["point"].input_schema["properties"]) == {"x"}
    async with httpx.AsyncClient() as http:
        wrong = await http.post(f"{url}?sessions=maybe")
    assert (wrong.status_code, wrong.json()["reason"]) == (400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_the_client_in_typescript_is_served_too(url: str, mode: str, version: str) -> None:
    done = subprocess.run([*mcp_client(), url, mode], capture_output=True, text=True, timeout=60, check=True)
    said = json.loads(done.stdout)
    assert said["version"] == version
    assert {"open_session", "point"} <= set(said["tools"])
    assert (said["recalled"], said["progress"], said["wrong"]) == ({"result": "tea"}, [0, 0.5, 1], True)


async def test_a_deadline_of_the_callers_own_holds(url: str) -> None:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers={"Snakepit-Timeout": "0.3"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        late = await client.call_tool("sleep", {"seconds": 20})
    assert late.is_error
    assert text(late).startswith("DEADLINE (started: ")


async def test_a_header_that_an_author_asked_for_is_held_against_the_body(url: str) -> None:
    """With what the package knows of the list: a mismatch never reaches the tool."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"name": "test_custom_headers", "arguments": {"region": "eu"}, "_meta": meta}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "test_custom_headers",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with httpx.AsyncClient() as http:
        right = await http.post(url, json=body, headers={**headers, "Mcp-Param-Region": "eu"})
        wrong = await http.post(url, json=body, headers={**headers, "Mcp-Param-Region": "us"})
    assert right.json()["result"]["structuredContent"] == {"result": "eu 0"}
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, -32020)
