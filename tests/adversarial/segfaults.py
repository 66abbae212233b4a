"""Reads at address 0."""

from __future__ import annotations

import ctypes

from snakepit import tool

OUTCOME = "WORKER_LOST: * died during the call: signal 11 (*; its last line of Python: *, in segfaults (which had called *, in string_at)"


@tool
def segfaults() -> None:
    ctypes.string_at(0)
