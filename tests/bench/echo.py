"""The adapter of the benchmarks."""

from snakepit import Adapter, tool


class Echo(Adapter):
    """As little work as a tool can do."""

    @tool
    def echo(self, text: str) -> str:
        """Give back what came."""
        return text
