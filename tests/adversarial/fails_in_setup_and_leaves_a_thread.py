"""Which Python would wait for at the end."""

from __future__ import annotations

import threading
import time

from snakepit import Adapter, tool

OUTCOME = "RuntimeError: no licence"
WORLD = "start"


class Evil(Adapter):
    def setup(self) -> None:
        threading.Thread(target=time.sleep, args=(600,)).start()
        raise RuntimeError("no licence")

    @tool
    def echo(self) -> None: ...
