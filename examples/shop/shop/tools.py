"""A tool that asks before it acts: whoever calls it offers `confirm`."""

from snakepit import Adapter, AsyncContext, ToolNotFound, tool


class Shop(Adapter):
    """Sells tea."""

    @tool
    async def order(self, item: str, *, ctx: AsyncContext) -> str:
        """Buy an item, if somebody says yes."""
        try:
            wanted = await ctx.call_tool("confirm", {"question": f"Buy {item}?"}, timeout=60)
        except ToolNotFound:
            return "nobody is there to ask"
        return f"{item} is on its way" if wanted else "not bought"
