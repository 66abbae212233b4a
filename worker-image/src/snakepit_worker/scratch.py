"""Where temporary files of a worker are: in a folder of its own, which goes when its process has ended, however it ended.

A worker that is killed can't remove what it has in the container's /tmp, which lives for as long as the pod. So the keeper makes each life
of a worker a folder, which is its TMPDIR, and removes it. All are in one folder of the keeper's. What an import leaves is there, too, as
workers may still use it. A keeper that is killed leaves its folder to the next one, which tells by a lock, that of the kernel, that nobody
has it any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from snakepit_worker import shared_memory

PREFIX = "snakepit-workers-"
VARIABLE = "TMPDIR"
_ROUNDS = 5
_PAUSE_SECONDS = 0.1
_TRIES = 10

logger = logging.getLogger("snakepit.keeper")


class Scratch:
    """The keeper's. Large folders take seconds to remove, so that a thread does it."""

    def __init__(self) -> None:
        self.root: Path | None = None
        # One that is full is the place still: what a keeper of before has left there goes. Written as tempfile has it, for `enter`.
        self._base = Path(os.path.abspath(os.environ.get(VARIABLE) or "/tmp"))  # noqa: PTH100
        self._removed: queue.SimpleQueue[str] = queue.SimpleQueue()

    def open(self) -> None:
        """Make the keeper's folder; from now on, what it starts has its temporary files there. Without a place for it, all is as it was."""
        try:
            self.root = _made(self._base)
        except OSError as error:
            logger.warning("workers have no temporary folders of their own, and what a killed one leaves stays: %s", error)
        else:
            os.environ[VARIABLE] = str(self.root)
        threading.Thread(target=self._remove_all, name="scratch", daemon=True).start()

    def make(self, incarnation: str) -> str:
        """For a worker that is to start; empty: there is none."""
        if self.root is None:
            return ""
        folder = self.root / incarnation
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            logger.warning("worker %s has no temporary folder of its own: %s", incarnation, error)
            return ""
        return str(folder)

    def remove(self, incarnation: str) -> None:
        """The worker has ended, or never came to be. Its shared memory goes, too."""
        self._removed.put(incarnation)

    def close(self) -> None:
        """Remove everything, when nobody is there to use it. A container's end does it by itself, or the next keeper."""
        if self.root is not None:
            _remove_all_of(self.root)

    def remove_abandoned(self) -> None:
        """What keepers have left that have ended. What other users have is theirs."""
        for folder in self._base.glob(f"{PREFIX}*"):
            if (descriptor := _locked(folder)) >= 0:
                _remove_all_of(folder)
                os.close(descriptor)  # Not before: another keeper that has just made it would take it for its own.

    def _remove_all(self) -> None:
        self.remove_abandoned()
        while True:
            incarnation = self._removed.get()
            shared_memory.remove(incarnation)
            if self.root is not None:
                remove(self.root / incarnation)


def enter(folder: str) -> None:
    """In a worker, before anything of the author's: its temporary files are there, also if the import has asked where they are."""
    if not folder:
        return
    os.environ[VARIABLE] = folder
    loaded = sys.modules.get("tempfile")
    if loaded is not None and loaded.tempdir == os.path.dirname(folder):  # noqa: PTH120  # What an author has set stays.
        loaded.tempdir = None  # type: ignore[attr-defined]


def _remove_all_of(keepers: Path) -> None:
    """A keeper's folder, with the shared memory of the workers that have a folder in it."""
    with contextlib.suppress(OSError):
        for each in keepers.iterdir():
            shared_memory.remove(each.name)
    remove(keepers)


def remove(folder: Path) -> None:
    """All of it, also where its owner has taken its own rights away. What a process that is just ending still writes is tried again."""
    for _ in range(_ROUNDS):
        with contextlib.suppress(OSError, RecursionError):
            if folder.is_symlink():
                folder.unlink()
            shutil.rmtree(folder)
        if not os.path.lexists(folder):
            return
        _open_up(folder)
        time.sleep(_PAUSE_SECONDS)
    logger.warning("temporary files of a worker that has ended can't all be removed: %s", folder)


def _open_up(folder: Path) -> None:
    """Give ourselves the right to look into each folder, and to empty it."""
    with contextlib.suppress(OSError, RecursionError):
        folder.chmod(0o700)
        for parent, names, _ in os.walk(folder):
            for each in names:
                if not (inner := Path(parent, each)).is_symlink():
                    inner.chmod(0o700)


def _made(base: Path) -> Path:
    """A new folder, whose lock is held from now on. Raises OSError."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        descriptor = _locked(folder)
        if descriptor >= 0 and folder.exists():
            return folder
        # Another keeper, which starts in this moment, took it for an abandoned one; or nothing can be locked there.
        if descriptor >= 0:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            folder.rmdir()
    raise OSError(f"no folder in {base} can be locked")


def _locked(folder: Path) -> int:
    """The descriptor of a folder that nobody else has; -1: somebody has it, or it isn't ours."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except OSError:
        pass  # It is another keeper's.
    os.close(descriptor)
    return -1
