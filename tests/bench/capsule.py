"""One capsule: how its workers start and are replaced, what they and the agent cost, and what a frame between them does."""

from __future__ import annotations

from tests.bench import frames
from tests.bench.births import memory_rows, replacement_rows, start_rows
from tests.bench.idle import agent_rows, beat_rows
from tests.bench.rows import Row

PARTS = (start_rows, replacement_rows, memory_rows, agent_rows, beat_rows, frames.rows)


async def rows() -> list[Row]:
    return [row for part in PARTS for row in await part()]
