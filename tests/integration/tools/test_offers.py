"""Workers call tools that clients offer."""

from __future__ import annotations

import pytest

from snakepit import Client, Pool

pytestmark = pytest.mark.timeout(50)


async def test_a_worker_calls_a_function_of_a_client_and_gets_its_value(client: Client, pool: Pool) -> None:
    async def shout(text: str) -> str:
        """Louder."""
        return text.upper()

    async with client.offer(shout, pool="asking"):
        assert await pool.call("ask", {"name": "shout", "arguments": {"text": "hey"}}, timeout=10) == "HEY"
        assert await pool.call("ask_later", {"name": "shout", "arguments": {"text": "ho"}}, timeout=10) == "HO"


async def test_a_blocking_function_runs_beside_the_clients_loop(client: Client, pool: Pool) -> None:
    def add(a: int, b: int = 1) -> int:
        return a + b

    async with client.offer(add, pool=pool):
        assert await pool.call("ask", {"name": "add", "arguments": {"a": 2}}, timeout=10) == 3
