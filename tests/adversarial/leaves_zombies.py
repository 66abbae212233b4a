"""Children that it never waits for, and orphans."""

from __future__ import annotations

import os
import subprocess

from snakepit import tool

OUTCOME = "value: null"
mine: list[object] = []


@tool
def leaves_zombies() -> None:
    for _ in range(10):
        mine.append(subprocess.Popen(["true"]))
        os.system("true & true &")
