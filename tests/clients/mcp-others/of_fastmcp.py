"""FastMCP's client: of_fastmcp.py URL."""

import asyncio
import json
import sys

from fastmcp import Client


async def main(url: str) -> None:
    progress: list[float] = []

    async def hear(fraction: float, total: float | None, message: str | None) -> None:
        progress.append(fraction)

    async with Client(url) as client:
        tools = [each.name for each in await client.list_tools()]
        opened = (await client.call_tool("open_session")).structured_content
        await client.call_tool("remember", {"value": "tea", **opened})
        recalled = (await client.call_tool("recall", opened)).structured_content
        await client.call_tool("test_tool_with_progress", progress_handler=hear)
        wrong = (await client.call_tool("point", {"x": "three"}, raise_on_error=False)).is_error
    print(json.dumps({"tools": tools, "recalled": recalled, "progress": progress, "wrong": wrong}))


asyncio.run(main(sys.argv[1]))
