"""The same tool with nothing of Snakepit's: over HTTP, as curl does it, and over MCP, with the protocol's own Python client."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Sequence
from typing import Any

import mcp
import steps
from transcript import Transcript

import snakepit

TOOL = "classify"
SECONDS = 30


async def call_without_us(pool: snakepit.Pool, gateway: str, image: Sequence[float], out: Transcript) -> None:
    """Two calls through the gateway: each is answered as the SDK's own."""
    expected = await pool.call(TOOL, {"image": image}, timeout=SECONDS)
    await _over_http(gateway, image, expected, out)
    await _over_mcp(gateway, image, expected, out)


async def _over_http(gateway: str, image: Sequence[float], expected: int, out: Transcript) -> None:
    url = f"{gateway}/v1/pools/{steps.POOL}/tools/{TOOL}"
    out.heading("The same over HTTP")
    out.say(f"curl --json '{{\"image\": [{image[0]:g}, {image[1]:g}, …]}}' {url}")
    request = urllib.request.Request(url, json.dumps({"image": image}).encode(), {"Content-Type": "application/json"})
    digit = await asyncio.to_thread(_answer, request)
    out.expect(digit == expected, f"the answer is {digit}, as the SDK's")


def _answer(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


async def _over_mcp(gateway: str, image: Sequence[float], expected: int, out: Transcript) -> None:
    url = f"{gateway}/mcp/{steps.POOL}"
    out.heading("The same over MCP")
    out.say(f"an MCP client at {url}")
    async with mcp.Client(url) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        out.expect(TOOL in names, f"it finds {', '.join(names)}")
        result = await client.call_tool(TOOL, {"image": list(image)})
    digit = (result.structured_content or {}).get("result")
    out.expect(digit == expected, f"the answer is {digit}, as the SDK's")
