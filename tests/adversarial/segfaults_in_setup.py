"""Reads at address 0 before it is ready."""

from __future__ import annotations

import ctypes

from snakepit import Adapter, tool

OUTCOME = "* before it was ready: signal 11 (*; its last line of Python: *, in setup (which had called *, in string_at)"
WORLD = "start"


class Evil(Adapter):
    def setup(self) -> None:
        ctypes.string_at(0)

    @tool
    def echo(self) -> None: ...
