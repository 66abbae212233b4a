"""Owns the folder of tools that are built or fetched once, ~/.cache/snakepit-tools, and how much of it is kept.

    python hack/tools_cache.py: remove what is kept for nobody

A tool's folder is called by its name and its version, or the hash of what it is made of. All checkouts have one cache. So the two folders
of each name that were used last are kept, and whatever was used within the last hour: another checkout may be about to run it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_UNFINISHED = re.compile(r"tmp[a-z0-9_]{8}")
"""Of a build that goes on, or was killed."""
KEPT = 2
IN_USE_SECONDS = 3600.0
_VERSION = r"(?:[0-9a-f]{16}|v\d[\w.]*(?:-[0-9a-f]{16})?)"
_FOLDER = re.compile(rf"(?P<name>[a-z][a-z0-9-]*?)-{_VERSION}")


def cache_folder() -> Path:
    """Where caches are, of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def tools_folder() -> Path:
    """Of our tools."""
    return cache_folder() / "snakepit-tools"


def use(path: Path) -> None:
    """Write down that what is in the folder of `path` is used now; of what isn't in the cache, or is in somebody else's, nothing."""
    folder = tools_folder()
    if path.is_relative_to(folder) and path != folder and os.access(used := folder / path.relative_to(folder).parts[0], os.W_OK):
        os.utime(used)


def unwanted(used: Mapping[str, float], now: float, kept: int = KEPT) -> list[str]:
    """Of folders, with when each was used last: those that are kept for nobody. What isn't called as a tool is not ours to judge."""
    by_name: dict[str, list[str]] = {}
    for folder in sorted(used, key=used.__getitem__, reverse=True):
        if match := _FOLDER.fullmatch(folder):
            by_name.setdefault(match["name"], []).append(folder)
    older = [folder for folders in by_name.values() for folder in folders[kept:]] + list(filter(_UNFINISHED.fullmatch, used))
    return [folder for folder in older if now - used[folder] > IN_USE_SECONDS]


def prune(now: float, kept: int = KEPT) -> list[Path]:
    """Remove them; what was removed. Each is renamed first, so that nobody finds half of one."""
    folder = tools_folder()
    if not os.access(folder, os.W_OK):  # There is none, or it is somebody else's.
        return []
    removed = [folder / name for name in unwanted(dict(_used(folder)), now, kept)]
    for each in removed:
        with contextlib.suppress(FileNotFoundError):  # Another process removes it, too.
            each.rename(each.with_name(f".removed-{os.getpid()}-{each.name}"))
    for left in folder.glob(".removed-*"):
        shutil.rmtree(left, ignore_errors=True)
    return removed


def _used(folder: Path) -> Iterator[tuple[str, float]]:
    for each in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # Another process has just removed it.
            if each.is_dir():
                yield each.name, each.stat().st_mtime


def main() -> None:
    for each in prune(time.time()):
        print(f"removed {each}, which nobody has used lately")


if __name__ == "__main__":
    main()
