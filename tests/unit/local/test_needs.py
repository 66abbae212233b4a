"""Which tools can be called plainly, as far as their code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakepit.client import ToolInfo
from snakepit_local.files import adapter_source, read_pools
from snakepit_local.report import example, needy_tools
from support.dev_server import pool_file

CODE = """
class Shop(Adapter):
    @tool
    async def ask(self, item: str, *, ctx: AsyncContext) -> str:
        return await ctx.call_tool("confirm", {"item": item})

    @tool(name="keep")
    def remember(self, key: str, *, context: Context) -> int:
        return context.state.set(key, 1)

    @tool
    def price(self, item: str, *, ctx: Context) -> int:
        ctx.check()
        return 3
"""


def test_what_uses_a_session_or_a_clients_tool_is_needy() -> None:
    assert needy_tools(CODE) == {"ask", "keep"}


@pytest.mark.parametrize("code", ["def f(:", "\0", ""])
def test_what_can_not_be_read_needs_nothing(code: str) -> None:
    assert needy_tools(code) == set()


def test_the_command_to_try_is_of_a_tool_that_needs_nothing_else() -> None:
    schema = {"properties": {"item": {"type": "string"}}, "required": ["item"]}
    tools = [ToolInfo(name, "", schema, {}, streaming=False, idempotent=False, timeout_seconds=0) for name in ("ask", "keep", "price")]
    assert example("127.0.0.1:7800", "a/b", tools, needy_tools(CODE)) == "snakepit call a/b price item=text"
    assert example("127.0.0.1:7800", "a/b", tools[:1], needy_tools(CODE)) == "snakepit call a/b ask item=text"


@pytest.mark.parametrize("file", ["shop/tools.py", "shop/tools/__init__.py"])
def test_the_code_is_that_of_the_adapters_module_beside_the_pool_file(tmp_path: Path, file: str) -> None:
    (local,) = read_pools([pool_file(tmp_path, "shop", "shop.tools:Shop")], 1)
    assert adapter_source(local) == ""
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(CODE)
    assert adapter_source(local) == CODE
