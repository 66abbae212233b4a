"""By spawn and by forkserver, which leave helpers behind."""

from __future__ import annotations

import multiprocessing

from snakepit import tool

OUTCOME = "value: [[]0, 0]"
TIMEOUT = 30.0


@tool
def multiplies_in_other_ways() -> list[int | None]:
    codes = []
    for method in ("spawn", "forkserver"):
        child = multiprocessing.get_context(method).Process(target=print, args=("a child prints",))
        child.start()
        child.join()
        codes.append(child.exitcode)
    return codes
