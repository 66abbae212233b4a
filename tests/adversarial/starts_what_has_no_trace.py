"""In a session of its own, without an environment, of no parent."""

from __future__ import annotations

import subprocess

from snakepit import tool

OUTCOME = "value: null"


@tool
def starts_what_has_no_trace() -> None:
    subprocess.run(["setsid", "-f", "sleep", "600"], env={}, check=True)
