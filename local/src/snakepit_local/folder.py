"""The folder that a running `snakepit dev` has for itself, for sockets: its capsules', and that of its logbook. It goes with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from snakepit._wire.dial import parse_target

LOGBOOK = "logbook"
"""The socket there that tells what workers have printed (see `logbook`)."""

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
