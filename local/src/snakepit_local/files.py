"""Pool files on disk: read, checked as the API server would check them, and watched for changes of the code beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cel
import msgspec

from snakepit.errors import InvalidArguments
from snakepit.names import pool_name
from snakepit.spec import InvalidPool, SnakePool, load_pools
from snakepit_operator.rollout import digest

MOST_FILES = 5000
"""A watched folder with more source files than this is looked at no further."""

CODE_ANNOTATION = "snakepit.dev/code"
_HIDDEN = (".", "__pycache__")


@dataclass(frozen=True)
class LocalPool:
    """A pool and the folder of its file, where the adapter is found."""

    pool: SnakePool
    folder: Path

    @property
    def name(self) -> str:
        return pool_name(self.pool.metadata.namespace, self.pool.metadata.name)

    def with_code(self, fingerprint: str) -> LocalPool:
        """The same pool under changed code: its template differs, so that it rolls out as any change does."""
        template: dict[str, Any] = {**(self.pool.spec.template or {}), "metadata": {"annotations": {CODE_ANNOTATION: fingerprint}}}
        spec = msgspec.structs.replace(self.pool.spec, template=template)
        return LocalPool(msgspec.structs.replace(self.pool, spec=spec), self.folder)


def read_pools(paths: Iterable[Path], generation: int) -> list[LocalPool]:
    """Every pool of every file. Raises InvalidPool with all problems of all files, each with its file's name.

    A pool's uid follows from its name, so that a store knows it again after a restart; `generation` grows from one start to the next.
    """
    problems: list[str] = []
    found: dict[str, LocalPool] = {}
    for path in paths:
        try:
            for pool in load_pools(_text(path), cel.evaluate):
                local = LocalPool(_identified(pool, generation), path.resolve().parent)
                if local.name in found:
                    problems.append(f"{path}: pool {local.name} is there twice")
                found[local.name] = local
        except InvalidPool as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
    if problems:
        raise InvalidPool(problems)
    return list(found.values())


def fingerprint(folder: Path) -> str:
    """Changes whenever a source file under `folder` does."""
    seen = hashlib.sha256()
    for path, _ in zip(_sources(folder), range(MOST_FILES), strict=False):
        try:
            state = path.stat()
        except OSError:
            continue
        seen.update(f"{path}\0{state.st_mtime_ns}\0{state.st_size}\n".encode())
    return seen.hexdigest()[:16]


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if not any(part.startswith(_HIDDEN) for part in path.relative_to(folder).parts))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidArguments(f"{path} can't be read: {reason}") from None


def _identified(pool: SnakePool, generation: int) -> SnakePool:
    uid = digest(["local", pool.metadata.namespace, pool.metadata.name], 32)
    return msgspec.structs.replace(pool, metadata=msgspec.structs.replace(pool.metadata, uid=uid, generation=generation))
