"""Owns the folder of finished builds: one entry per kind and key, complete or not there at all.

A key is a hash of everything that the build depends on. An entry is made in a folder of its own and renamed into place,
under a lock that dies with its holder; so two runs at once build once, and a run that was killed leaves only rubbish that
the next one removes.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT_ENTRIES = 2
KEY_LENGTH = 16
SKIPPED_FOLDERS = frozenset({".git", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", "build", "dist"})


def key_of(values: Iterable[str]) -> str:
    """A short hash in which no two lists of values can run into each other."""
    digest = hashlib.sha256()
    for value in values:
        encoded = value.encode()
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return digest.hexdigest()[:KEY_LENGTH]


def files_below(path: Path) -> Iterator[Path]:
    """Every file that a build could see, in a stable order; caches and environments are not input."""
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not f.endswith(".egg-info"))
        yield from (Path(folder) / name for name in sorted(names) if not name.endswith(".pyc"))


def key_of_files(root: Path, inputs: Iterable[str]) -> str:
    """Hash of names, execute bits and contents of files and folders below root."""
    files = [file for name in inputs for file in files_below(root / name)]
    return key_of(value for file in files for value in _described(root, file))


def _described(root: Path, file: Path) -> tuple[str, str, str]:
    executable = "x" if os.access(file, os.X_OK) else "-"
    return str(file.relative_to(root)), executable, hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock that the kernel drops when this process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def entry(cache: Path, kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of that build; `make` fills it if it is not there yet."""
    finished = cache / f"{kind}-{key}"
    with locked(cache / "locks" / kind):
        if not finished.exists():
            _make(cache, kind, finished, make)
        os.utime(finished)
        _prune(cache, kind)
    return finished


def _make(cache: Path, kind: str, finished: Path, make: Callable[[Path], None]) -> None:
    unfinished = cache / f".unfinished-{kind}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    make(unfinished)
    unfinished.rename(finished)


def _prune(cache: Path, kind: str) -> None:
    entries = sorted(cache.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in entries[KEPT_ENTRIES:]:
        shutil.rmtree(old, ignore_errors=True)
