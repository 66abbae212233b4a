"""Notes over MCP, with the protocol's own client and nothing of Snakepit's.

examples/notes/with-pool .venv/bin/python examples/notes/over_mcp.py
"""

import asyncio
import os

from mcp import Client

URL = os.environ.get("URL", "http://localhost:7880")


async def said(done: float, total: float | None, message: str | None) -> None:
    print(f"  {done:.0%} {message}")


async def main() -> None:
    async with Client(f"{URL}/mcp/default/notes") as client:
        print("its tools:", ", ".join(tool.name for tool in (await client.list_tools()).tools))
        opened = await client.call_tool("open_session", {})
        session = (opened.structured_content or {})["session"]
        for text in ("milk", "eggs"):
            await client.call_tool("add", {"text": text, "session": session})
        print("notes of the session:", (await client.call_tool("read", {"session": session})).structured_content)
        print("a report:")
        await client.call_tool("report", {"pages": 3}, progress_callback=said)
        wrong = await client.call_tool("report", {"pages": "many"})
        print("what a model reads of a mistake:", wrong.content[0].text if wrong.is_error else "nothing")


asyncio.run(main())
