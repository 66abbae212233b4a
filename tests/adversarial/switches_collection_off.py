"""And makes garbage in rings."""

from __future__ import annotations

import gc

from snakepit import tool

OUTCOME = "value: null"


@tool
def switches_collection_off() -> None:
    gc.disable()
    for _ in range(100_000):
        ring: list[object] = []
        ring.append(ring)
