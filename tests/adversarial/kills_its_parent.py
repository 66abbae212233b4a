"""The keeper, where it can be killed: as PID 1 of a container it can't."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: the worker's container ended"
# Since Linux 6.12 nobody signals a process outside its box.
OR_ELSE = "ToolError: PermissionError: [[]Errno 1] Operation not permitted"


@tool
def kills_its_parent() -> None:
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
