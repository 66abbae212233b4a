"""Sellers as they are: most answer, one sleeps, one is broken."""

import asyncio

from snakepit import Adapter, tool

PRICES = {"ada": 4.5, "bob": 4.2, "cleo": 5.0}


class Sellers(Adapter):
    """What each seller asks for an item."""

    thread_safe = True

    @tool(read_only=True, idempotent=True)
    async def price(self, seller: str, item: str) -> float:
        """Of one piece."""
        if seller == "sleepy":
            await asyncio.sleep(60)
        return PRICES[seller]
