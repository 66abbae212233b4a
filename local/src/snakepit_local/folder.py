"""The folder that a running `snakepit dev` has for itself, for sockets: its capsules', and that of its logbook. It goes with it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from snakepit.cli import local_runs


def make_root() -> Path:
    """A new one; what killed predecessors left is removed."""
    for old, runs in local_runs.folders():
        if not runs:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{local_runs.PREFIX}{os.getpid()}-", dir=local_runs.base()))


def say_where(root: Path, address: str) -> None:
    """Whoever looks for the dev at this address finds the folder."""
    (root / local_runs.SERVER).write_text(address)
