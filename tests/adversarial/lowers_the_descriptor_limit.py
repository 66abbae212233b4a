"""No new descriptor can be opened."""

from __future__ import annotations

import resource

from snakepit import tool

OUTCOME = "value: null"


@tool
def lowers_the_descriptor_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
