"""A tool that calls tools of another pool: all at once, each with a deadline, and without one failure spoiling the rest."""

import asyncio
import os
from dataclasses import dataclass, field

from snakepit import Adapter, AsyncContext, SnakepitError, tool

SELLERS = os.environ.get("SELLERS_POOL", "default/sellers")
AT_ONCE = 16
"""Open calls of one comparison: the other pool's queue is everybody's."""
MARGIN = 0.5
"""Seconds before our own deadline at which we stop waiting for others, so that our answer is in time."""


@dataclass
class Comparison:
    """The prices that came, and why the others did not."""

    prices: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class NobodyAnswered(Exception):
    """No seller has a price: there is nothing to compare."""


class Compare(Adapter):
    """Compares what sellers ask for an item."""

    thread_safe = True

    @tool(timeout=5, read_only=True, idempotent=True)
    async def compare(self, item: str, sellers: list[str], *, ctx: AsyncContext) -> Comparison:
        """The price of each seller that answers in time."""
        found, room = Comparison(), asyncio.Semaphore(AT_ONCE)

        async def ask(seller: str) -> None:
            async with room:
                try:
                    arguments = {"seller": seller, "item": item}
                    found.prices[seller] = await ctx.call_tool("price", arguments, pool=SELLERS, timeout=budget(ctx))
                except SnakepitError as error:
                    found.failures[seller] = error.reason
                ctx.progress((len(found.prices) + len(found.failures)) / len(sellers), seller)

        async with asyncio.TaskGroup() as asking:
            for seller in sellers:
                asking.create_task(ask(seller))
        if not found.prices:
            raise NobodyAnswered(f"none of {len(sellers)} sellers: {found.failures}")
        return found


def budget(ctx: AsyncContext) -> float | None:
    """Seconds that another may take of ours. None: there is no deadline."""
    left = ctx.remaining()
    return None if left is None else max(left - MARGIN, 0.001)
