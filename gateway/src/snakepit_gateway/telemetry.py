"""What a gateway counts, in instruments made of the table of metrics (`snakepit._telemetry.metrics.gateway`).

Labels are bounded: routes that there are, methods that HTTP and MCP have, statuses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from snakepit._telemetry.metrics import gateway as rows
from snakepit._telemetry.metrics.instruments import Registry
from snakepit._telemetry.metrics.row import OTHER

OK, TOOL_ERROR, ERROR = "OK", "TOOL_ERROR", "ERROR"
"""How a request of MCP ends."""

_HTTP_METHODS, _MCP_METHODS = frozenset(rows.HTTP_METHODS), frozenset(rows.MCP_METHODS)


def known_method(method: str) -> str:
    """Of HTTP; OpenTelemetry's `_OTHER` for one that it has not: else a stranger would name our series, and our spans."""
    return method if method in _HTTP_METHODS else "_OTHER"


class Telemetry:
    """One for each gateway, so that two in one process (tests) don't share numbers."""

    def __init__(self) -> None:
        self.registry = registry = Registry("gateway")
        self.requests = registry.histogram(rows.REQUEST_DURATION)
        self.active = registry.gauge(rows.ACTIVE_REQUESTS)
        self._streams = registry.gauge(rows.STREAMS)
        self._mcp = registry.counter(rows.MCP_REQUESTS)

    @contextlib.contextmanager
    def streaming(self, kind: str) -> Iterator[None]:
        """An answer of that kind, for as long as it lasts."""
        self.streams(kind, 1)
        try:
            yield
        finally:
            self.streams(kind, -1)

    def streams(self, kind: str, change: int) -> None:
        """So many more of that kind, or less."""
        self._streams.add(kind, by=change)

    def answered(self, method: str, outcome: str) -> None:
        """A request of MCP has its answer. `outcome`: OK, TOOL_ERROR or ERROR."""
        self._mcp.add(method if method in _MCP_METHODS else OTHER, outcome)

    def watch(self, loop: asyncio.AbstractEventLoop, held: Callable[[], int]) -> None:
        """Tell how many bytes are held, as it is at each scrape."""
        self.registry.read(loop, (rows.HELD_BYTES,), lambda: [(rows.HELD_BYTES, (), held())])
