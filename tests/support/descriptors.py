"""Which descriptors this process has open."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path


def open_files() -> set[tuple[str, str]]:
    """Each with what it is, without those that earlier tests have left to be collected. Threads of earlier tests may still close some."""
    gc.collect()
    found: set[tuple[str, str]] = set()
    for each in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # That was the folder's own.
            found.add((each.name, str(each.readlink())))
    return found
