"""Ends the process before it is ready."""

from __future__ import annotations

import os

from snakepit import Adapter, tool

OUTCOME = "the worker ended before it was ready: exit code 4 (its own code ended the process)"
WORLD = "start"


class Evil(Adapter):
    def setup(self) -> None:
        os._exit(4)

    @tool
    def echo(self) -> None: ...
