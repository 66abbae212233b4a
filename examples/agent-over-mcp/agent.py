"""An agent whose tools are a pool's, over MCP and with nothing of Snakepit's: `python examples/agent-over-mcp/agent.py`."""

import asyncio
import json
import os
import shlex
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import Tool
from script import Scripted, ToolCall

URL = os.environ.get("URL", "http://localhost:7880")
POOL = os.environ.get("POOL", "default/warehouse")
SERVER = os.environ.get("SERVER", "")
"""A command that serves the pool, instead of the gateway at URL: `snakepit --kube mcp default/warehouse`."""
MOST_CALLS = 20
"""An agent that goes round in a circle ends."""


class Tools:
    """The pool's tools in one session. The model sees neither the session nor how it is made."""

    def __init__(self, client: Client, session: str, tools: list[Tool]) -> None:
        self._client, self._session = client, session
        self._tools = {tool.name: tool for tool in tools if tool.name != "open_session"}

    @classmethod
    async def of(cls, client: Client) -> "Tools":
        opened = await client.call_tool("open_session", {})
        assert opened.structured_content
        return cls(client, opened.structured_content["session"], (await client.list_tools()).tools)

    def for_the_model(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "description": tool.description, "schema": _without_session(tool.input_schema)}
            for name, tool in sorted(self._tools.items())
        ]

    async def call(self, wanted: ToolCall) -> str:
        """What the model reads of it. A failure is text, too: it says what to change."""
        tool = self._tools.get(wanted.name)
        if tool is None:
            return f"there is no tool {wanted.name!r}, only {', '.join(self._tools)}"
        if tool.annotations and tool.annotations.destructive_hint and not allowed(wanted):
            return "a person has said no"
        result = await self._client.call_tool(wanted.name, {**wanted.arguments, "session": self._session})
        return "\n".join(block.text for block in result.content if block.type == "text")


def client() -> Client:
    """Of the pool, wherever it is served."""
    if not SERVER:
        return Client(f"{URL}/mcp/{POOL}")
    program, *words = shlex.split(SERVER)
    return Client(stdio_client(StdioServerParameters(command=program, args=words, env=dict(os.environ))))


def allowed(wanted: ToolCall) -> bool:
    """Ask a person here. Nobody is there now, so the answer is no."""
    return False


def _without_session(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "properties": {name: each for name, each in schema.get("properties", {}).items() if name != "session"}}


async def main() -> None:
    async with client() as pool:
        tools = await Tools.of(pool)
        model, heard = Scripted(tools.for_the_model()), list[str]()
        print("tools:", ", ".join(str(tool["name"]) for tool in model.tools))
        for _ in range(MOST_CALLS):
            wanted = model.next(heard)
            if isinstance(wanted, str):
                print("agent:", wanted)
                return
            heard.append(await tools.call(wanted))
            print(f"{wanted.name} {json.dumps(wanted.arguments)} -> {heard[-1]}")
        print(f"the agent was stopped after {MOST_CALLS} calls")


if __name__ == "__main__":
    asyncio.run(main())
