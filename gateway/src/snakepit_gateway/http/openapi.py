"""A pool's description as OpenAPI 3.1, of its tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snakepit.client.views import ToolInfo


def document(pool: str, tools: Sequence[ToolInfo]) -> dict[str, Any]:
    return {"openapi": "3.1.1"}
