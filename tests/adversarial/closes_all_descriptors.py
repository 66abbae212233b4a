"""As old recipes for daemons do."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: exit code 113 (the tool closed or replaced a descriptor of the worker's own, *)"


@tool
def closes_all_descriptors() -> None:
    os.closerange(3, 4096)
