"""Pool files on disk: read, checked as the API server would check them, and watched for changes of the code beside them."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cel
import msgspec

from snakepit._names import pool_name
from snakepit.author.loading import of_a_file
from snakepit.errors import InvalidArguments
from snakepit.spec import InvalidPool, SnakePool, load_pools
from snakepit_operator.rollout import digest

MOST_FILES = 5000
"""A watched folder with more source files than this is looked at no further."""

MOST_POOL_BYTES = 8 * 1024 * 1024
"""No more of a pool file is read: what is over the limit of characters is seen from less."""


@dataclass(frozen=True)
class LocalPool:
    """A pool and its file, beside which the adapter is found."""

    pool: SnakePool
    file: Path

    @property
    def folder(self) -> Path:
        """Where its code is."""
        return self.file.parent

    @property
    def name(self) -> str:
        """Its name with the namespace."""
        return pool_name(self.pool.metadata.namespace, self.pool.metadata.name)


_ADAPTER = re.compile(r'spec\.worker\.adapter: Invalid value: "([^"]*)":')
_HOUR = 3600.0
_WEEK = 7 * 24 * _HOUR


def for_debugging(local: LocalPool) -> LocalPool:
    """The same pool with one worker, one call at a time, and time for everything."""
    spec = local.pool.spec
    change = msgspec.structs.replace
    patient = change(
        spec,
        replicas=1,
        autoscaling=None,
        suspended=False,
        worker=change(spec.worker, processes=1, threads=1),
        queue=change(spec.queue, timeout_seconds=_WEEK),
        call=change(spec.call, timeout_seconds=_WEEK, stream_timeout_seconds=_WEEK, stream_idle_seconds=_WEEK),
        heartbeat=change(spec.heartbeat, timeout_seconds=_HOUR),
        drain=change(spec.drain, timeout_seconds=1.0, kill_after_seconds=24 * _HOUR),
    )
    return LocalPool(change(local.pool, spec=patient), local.file)


def read_pools(paths: Iterable[Path], generation: int) -> list[LocalPool]:
    """Every pool of every file. Raises InvalidPool with all problems of all files, each with its file's name.

    A pool's uid follows from its name, so that a store knows it again after a restart; `generation` grows from one start to the next.
    """
    problems: list[str] = []
    found: dict[str, LocalPool] = {}
    for path in paths:
        try:
            for pool in load_pools(_text(path), cel.evaluate):
                local = LocalPool(_identified(pool, generation), path.resolve())
                if local.name in found:
                    problems.append(f"{path}: pool {local.name} is there twice")
                found[local.name] = local
        except InvalidPool as error:
            problems += [f"{path}: {problem}{_meant(str(problem))}" for problem in error.problems]
    if problems:
        raise InvalidPool(problems)
    return list(found.values())


def _meant(problem: str) -> str:
    """The right form of an adapter that is the path of a file."""
    found = _ADAPTER.search(problem)
    meant = of_a_file(found[1]) if found else None
    return f" (did you mean {json.dumps(meant)}?)" if meant else ""


State = tuple[int, int]
"""Of a file: the time of its last change, and its size."""

Snapshot = Mapping[Path, State]
"""Source files."""


def sources(folder: Path) -> Snapshot:
    """The source files under `folder`; hidden folders, such as environments, are not looked into."""
    found: dict[Path, State] = {}
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not _is_hidden(Path(root, each)))
        for path in (Path(root, name) for name in sorted(names) if name.endswith(".py")):
            if len(found) >= MOST_FILES:
                return found
            if state := state_of(path):
                found[path] = state
    return found


def state_of(path: Path) -> State | None:
    """None: it is not there; it may be just being replaced."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return None


def broken(paths: Iterable[Path]) -> str:
    """What is wrong with the first of these files that is no Python, in words; empty: nothing."""
    for path in paths:
        try:
            compile(path.read_bytes(), path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            return f"{path.name}{line}: {error.msg if isinstance(error, SyntaxError) else error}"
        except OSError:
            continue  # it is just being replaced; it changes again then
    return ""


def adapter_source(local: LocalPool) -> str:
    """The text of the module that the pool's adapter is in; empty: it is not beside the pool file."""
    module = local.folder.joinpath(*local.pool.spec.worker.adapter.partition(":")[0].split("."))
    for path in (module.with_name(f"{module.name}.py"), module / "__init__.py"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return path.read_text()
    return ""


def _is_hidden(folder: Path) -> bool:
    return folder.name.startswith((".", "__pycache__")) or (folder / "pyvenv.cfg").exists()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_POOL_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidArguments(f"{path} can't be read: {reason}") from None


def _identified(pool: SnakePool, generation: int) -> SnakePool:
    uid = digest(["local", pool.metadata.namespace, pool.metadata.name], 32)
    return msgspec.structs.replace(pool, metadata=msgspec.structs.replace(pool.metadata, uid=uid, generation=generation))
