"""What an agent is given: descriptions and messages are written for whoever reads them, a model."""

from typing import Annotated

from msgspec import Meta

from snakepit import Adapter, Context, tool

STOCK = {"tea": 12, "milk": 3}
Count = Annotated[int, Meta(ge=1, le=1000, description="How many pieces.")]


class NotEnough(Exception):
    """The message says what would do."""


class Warehouse(Adapter):
    """Items in stock, and a basket for each session."""

    @tool(read_only=True)
    def stock(self, item: str) -> int:
        """How many pieces of an item there are."""
        return STOCK.get(item, 0)

    @tool(destructive=False)
    def reserve(self, item: str, count: Count, *, ctx: Context) -> dict[str, int]:
        """Put pieces into the basket; all that is in it then."""
        basket = ctx.state.get("basket", {})
        wanted = basket.get(item, 0) + count
        if wanted > STOCK.get(item, 0):
            raise NotEnough(f"there are {STOCK.get(item, 0)} of {item}, and {wanted} would be reserved: reserve fewer")
        basket[item] = wanted
        ctx.state.set("basket", basket)
        return basket

    @tool(destructive=True)
    def empty(self, *, ctx: Context) -> bool:
        """Put everything back."""
        return ctx.state.delete("basket")
