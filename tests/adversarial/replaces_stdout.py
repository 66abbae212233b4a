"""By nothing, and stderr by what fails."""

from __future__ import annotations

import sys

from snakepit import tool

OUTCOME = "value: null"


@tool
def replaces_stdout() -> None:
    class Full:
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        flush = write

    sys.stdout = None
    sys.stderr = Full()
    print("lost")
