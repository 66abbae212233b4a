"""While other threads wait at them."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: exit code 113 (*)"
WORLD = "thread"


@tool
def closes_all_descriptors_in_a_thread() -> None:
    os.closerange(3, 4096)
