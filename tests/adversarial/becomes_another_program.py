"""Which knows nothing of calls."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: signal 9 (SIGKILL: killed): its channel to the agent was shut"


@tool
def becomes_another_program() -> None:
    os.execvp("sleep", ["sleep", "600"])
