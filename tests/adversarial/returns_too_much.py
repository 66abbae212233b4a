"""65 MiB."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "PAYLOAD_TOO_LARGE: *limit*"


@tool
def returns_too_much() -> bytes:
    return b"x" * (65 << 20)
