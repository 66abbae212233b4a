"""A process within a process, by fork."""

from __future__ import annotations

import multiprocessing

from snakepit import tool

OUTCOME = "value: [[]1, 2]"


@tool
def multiplies() -> list[int]:
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        return pool.map(abs, [-1, -2])
