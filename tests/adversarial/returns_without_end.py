"""A list of a stream that never ends."""

from __future__ import annotations

from collections.abc import Iterator

from snakepit import tool

OUTCOME = "PAYLOAD_TOO_LARGE: *limit*"


@tool
def returns_without_end() -> Iterator[str]:
    while True:
        yield "x" * 1_000_000
