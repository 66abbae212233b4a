"""The folder that a running `snakepit dev` has for itself: its capsules' sockets, and what its workers have printed. It goes with it.

What workers print is one file a pool, of bounded size, written here and read by `snakepit logs`. A line is its time, the capsule and the
text, with tabs between. A full file becomes the pool's older one, whose predecessor goes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from snakepit._wire.dial import parse_target

MOST_BYTES = 1 << 20
"""Of a file; a pool has two."""

_LOGS = "logs"
_SUFFIX = ".log"
_OLDER = ".older"

_PATH_LIMIT = 80
_PREFIX = "snakepit-"
_SERVER = "server"
_HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}


def make_root() -> Path:
    """A new one; what killed predecessors left is removed. A socket's path must be short."""
    base = _base()
    for old in base.glob(f"{_PREFIX}*-*"):
        if (pid := _pid(old)) and not Path("/proc", pid).exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))


def say_where(root: Path, address: str) -> None:
    """Whoever looks for the dev at this address finds the folder."""
    (root / _SERVER).write_text(address)


def running() -> dict[str, Path]:
    """The folders of all that run here and belong to this user, by their control planes' addresses."""
    found = {}
    for root in _base().glob(f"{_PREFIX}*-*"):
        if (pid := _pid(root)) and Path("/proc", pid).exists():
            with contextlib.suppress(OSError):
                found[(root / _SERVER).read_text()] = root
    return found


def at(address: str, known: dict[str, Path]) -> Path | None:
    """The one whose control plane has this address; a machine's own names are one."""
    wanted = _canonical(address)
    return next((root for each, root in known.items() if _canonical(each) == wanted), None)


def _canonical(address: str) -> tuple[str, int]:
    host, port = parse_target(address)
    return "localhost" if host in _HERE else host, port


def _pid(root: Path) -> str:
    pid = root.name.removeprefix(_PREFIX).split("-")[0]
    return pid if pid.isdecimal() else ""


def _base() -> Path:
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return base if len(str(base)) <= _PATH_LIMIT and os.access(base, os.W_OK) else Path("/tmp")


class LogLine(NamedTuple):
    """`time` as ISO 8601, in UTC."""

    time: str
    capsule: str
    text: str


class Logbook:
    """Written by one process. What there is no room for on the disk is dropped: the terminal has it too."""

    def __init__(self, root: Path, names: Iterable[str], most_bytes: int = MOST_BYTES) -> None:
        folder = root / _LOGS
        folder.mkdir(exist_ok=True)
        self._paths = {name: _log_path(folder, name) for name in names}
        self._files = {name: path.open("wb", buffering=0) for name, path in self._paths.items()}
        self._most = most_bytes

    def add(self, pool: str, capsule: str, text: str) -> None:
        """Keep a line that was printed now."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with contextlib.suppress(OSError):
            self._write(pool, f"{moment}\t{capsule}\t{text}\n".encode(errors="replace"))

    def close(self) -> None:
        """Close all files; they stay as long as the folder does."""
        for file in self._files.values():
            file.close()

    def _write(self, pool: str, data: bytes) -> None:
        file = self._files[pool]
        if file.tell() + len(data) > self._most:
            path = self._paths[pool]
            path.rename(path.with_suffix(_OLDER))
            file.close()
            file = self._files[pool] = path.open("wb", buffering=0)
        file.write(data)


def pools(root: Path) -> list[str]:
    """Those that the dev with this folder runs."""
    return sorted(path.stem.replace("+", "/") for path in (root / _LOGS).glob(f"*{_SUFFIX}"))


def read_logs(root: Path, names: Iterable[str]) -> Iterator[list[LogLine]]:
    """First all that is kept of these pools' lines, then what comes, perhaps nothing, as often as it is asked for. Ends with the dev."""
    readers = [_Reader(_log_path(root / _LOGS, name)) for name in names]
    try:
        while True:
            there = root.exists()
            yield sorted((line for reader in readers for line in reader.lines()), key=lambda line: line.time)
            if not there:
                return
    finally:
        for reader in readers:
            reader.close()


class _Reader:
    """Begins with the older file, and goes on with the next one when its own has become that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._rest = b""
        self._older: bytes | None = None
        with contextlib.suppress(FileNotFoundError):
            older = path.with_suffix(_OLDER)
            self._older = older.read_bytes() if older.stat().st_ino != self._inode() else None

    def lines(self) -> Iterator[LogLine]:
        if self._older is not None:
            data, self._older = self._older, None
            yield from self._parsed(data)
        yield from self._parsed(self._file.read())
        if self._path.exists() and self._path.stat().st_ino != self._inode():
            yield from self._parsed(self._file.read())
            self._file.close()
            self._file = self._path.open("rb")
            yield from self._parsed(self._file.read())

    def close(self) -> None:
        self._file.close()

    def _parsed(self, data: bytes) -> Iterator[LogLine]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for each in lines:
            parts = each.decode(errors="replace").split("\t", 2)
            if len(parts) == 3:
                yield LogLine(*parts)

    def _inode(self) -> int:
        return os.fstat(self._file.fileno()).st_ino


def _log_path(folder: Path, pool: str) -> Path:
    return folder / f"{pool.replace('/', '+')}{_SUFFIX}"
