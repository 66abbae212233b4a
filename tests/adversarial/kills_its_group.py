"""Itself, and everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: signal 9 (SIGKILL: killed)"


@tool
def kills_its_group() -> None:
    subprocess.Popen(["sleep", "600"])
    os.killpg(0, signal.SIGKILL)
