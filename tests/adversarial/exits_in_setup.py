"""Means to end a script."""

from __future__ import annotations

import sys

from snakepit import Adapter, tool

OUTCOME = "SystemExit: no licence"
WORLD = "start"


class Evil(Adapter):
    def setup(self) -> None:
        sys.exit("no licence")

    @tool
    def echo(self) -> None: ...
