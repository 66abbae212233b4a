"""A process within a process, by fork, and a pool of them."""

from __future__ import annotations

import multiprocessing

from snakepit import tool

OUTCOME = "value: [[]1, 2]"


def nest() -> None:
    child = multiprocessing.get_context("fork").Process(target=print, args=("a grandchild prints",))
    child.start()
    child.join()


@tool
def multiplies() -> list[int]:
    context = multiprocessing.get_context("fork")
    child = context.Process(target=nest)
    child.start()
    child.join()
    with context.Pool(2) as pool:
        return pool.map(abs, [-1, -2])
