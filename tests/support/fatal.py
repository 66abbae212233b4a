"""An adapter whose tools leave a line in a file each time they run, and may kill their worker then."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from snakepit import Adapter, Context, tool


def _count(path: str) -> int:
    """Leave a line; how many there are now."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(Path(path).read_text().splitlines())


class Fatal(Adapter):
    @tool
    def work(self, path: str, seconds: float = 0.0) -> int:
        runs = _count(path)
        time.sleep(seconds)
        return runs

    @tool
    def once(self, path: str) -> None:
        _count(path)
        os.kill(os.getpid(), signal.SIGKILL)

    @tool(idempotent=True)
    def again(self, path: str, deaths: int) -> int:
        runs = _count(path)
        if runs <= deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return runs

    @tool(idempotent=True)
    def hang_first(self, path: str) -> int:
        runs = _count(path)
        if runs == 1:
            time.sleep(60)
        return runs

    @tool
    def report(self, path: str, *, ctx: Context) -> int:
        """Say how far it is, and wait until somebody has made the file `path`.go before the last step."""
        runs = _count(path)
        ctx.progress(0.5, "half")
        while not Path(f"{path}.go").exists():
            time.sleep(0.005)
        ctx.progress(1.0, "all")
        return runs
