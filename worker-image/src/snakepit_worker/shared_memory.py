"""Shared memory of a worker that has no name of the author's goes when the worker's process has ended, however it ended.

Python leaves that to a process beside each that makes some, the resource tracker. A worker takes all that it has started with it, and the
tracker too, before it has done its work. So the worker's incarnation is in the names, and the keeper removes what bears it.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_FOLDER = Path("/dev/shm")
_MAKER = "multiprocessing.shared_memory"


def enter(incarnation: str) -> None:
    """In a worker, before anything of the author's but the import. What makes shared memory is imported only by those who want it."""
    loaded = sys.modules.get(_MAKER)
    if loaded is None:
        sys.meta_path.insert(0, _Finder(incarnation))
    else:
        _name(loaded, incarnation)


def remove(incarnation: str) -> None:
    """That worker has ended."""
    for segment in _FOLDER.glob(f"psm_{incarnation}_*"):
        with contextlib.suppress(OSError):
            segment.unlink()


class _Finder:
    """Finds that one module, once."""

    def __init__(self, incarnation: str) -> None:
        self._incarnation = incarnation

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _MAKER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _name(module, self._incarnation)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _name(maker: ModuleType, incarnation: str) -> None:
    """From now on, what it makes has such names."""
    vars(maker)["_make_filename"] = lambda: f"/psm_{incarnation}_{secrets.token_hex(4)}"
