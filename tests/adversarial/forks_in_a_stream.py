"""The child goes on with the chunks."""

from __future__ import annotations

import os
from collections.abc import Iterator

from snakepit import tool

OUTCOME = "value: [[]1, 1, 3]"


@tool
def forks_in_a_stream() -> Iterator[int]:
    yield 1
    child = os.fork()
    yield os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 2
    yield 3
