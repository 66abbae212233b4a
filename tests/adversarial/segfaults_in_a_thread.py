"""Reads at address 0."""

from __future__ import annotations

import ctypes

from snakepit import tool

OUTCOME = "WORKER_LOST: * signal 11 (*; its last line of Python: *, in segfaults_in_a_thread (which had called *, in string_at)"
WORLD = "thread"


@tool
def segfaults_in_a_thread() -> None:
    ctypes.string_at(0)
