"""Owns temporary folders that are large: whoever makes one first removes those of killed predecessors.

The kernel's locks tell which they are.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """A new folder, which is removed at the end; if this process is killed before, by the next one that asks for such a folder."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_abandoned(left)
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(lock)


def _remove_if_abandoned(folder: Path) -> None:
    """Locked by nobody. One that is made at this moment isn't locked yet, and is empty."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # It has gone, or is somebody else's.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # It is in use.
    finally:
        os.close(lock)
