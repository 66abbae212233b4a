"""As old recipes for daemons do."""

from __future__ import annotations

import os

from snakepit import Adapter, tool

OUTCOME = "the worker ended before it was ready: exit code 113 (*)"
WORLD = "start"


class Evil(Adapter):
    def setup(self) -> None:
        os.closerange(3, 4096)

    @tool
    def echo(self) -> None: ...
