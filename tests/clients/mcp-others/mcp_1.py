"""The official client in Python before 2026-07-28: mcp_1.py URL."""

import asyncio
import json
import sys
from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str) -> None:
    progress: list[float] = []

    async def hear(fraction: float, total: float | None, message: str | None) -> None:
        progress.append(fraction)

    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as client:
        version = (await client.initialize()).protocolVersion
        tools = [each.name for each in (await client.list_tools()).tools]
        opened: Any = (await client.call_tool("open_session")).structuredContent
        await client.call_tool("remember", {"value": "tea", **opened})
        recalled = (await client.call_tool("recall", opened)).structuredContent
        await client.call_tool("test_tool_with_progress", progress_callback=hear)
        wrong = (await client.call_tool("point", {"x": "three"})).isError
    print(json.dumps({"version": version, "tools": tools, "recalled": recalled, "progress": progress, "wrong": wrong}))


asyncio.run(main(sys.argv[1]))
