"""An adapter that imports numpy, as most do, and multiplies what is large enough for all of BLAS's threads."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy

from snakepit import Adapter, tool


class Numeric(Adapter):
    @tool
    def foreign_threads(self) -> int:
        """Threads of this process that are not Python's, after work for them."""
        square = numpy.ones((600, 600))
        assert (square @ square)[0, 0] == 600
        return len(list(Path("/proc/self/task").iterdir())) - threading.active_count()
