"""Which `snakepit dev` of this user run on this machine: each has a folder, which names the address of its control plane.

It is for sockets: its capsules', and that of its logbook. It goes with its dev.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from snakepit._wire.targets import parse_target

LOGBOOK = "logbook"
"""The socket there that tells what its capsules have logged."""

_SERVER = "server"
"""The file there with the address."""

_PREFIX = "snakepit-"
"""The folder's name begins with this, and with the pid of dev and a hyphen."""

_PATH_LIMIT = 80
_HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}


def make_root() -> Path:
    """A folder for a new one, which is this process; what killed predecessors left is removed."""
    for old, runs in _folders():
        if not runs:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_base()))


def say_where(root: Path, address: str) -> None:
    """Whoever looks for the dev at this address finds the folder."""
    (root / _SERVER).write_text(address)


def running() -> dict[str, Path]:
    """The folders of all that run, by their control planes' addresses."""
    found = {}
    for root, runs in _folders():
        if runs:
            with contextlib.suppress(OSError):
                if address := (root / _SERVER).read_text():  # Else it is just being written.
                    found[address] = root
    return found


def at(address: str, known: dict[str, Path]) -> Path | None:
    """The one whose control plane has this address; a machine's own names are one."""
    wanted = _canonical(address)
    return next((root for each, root in known.items() if _canonical(each) == wanted), None)


def _base() -> Path:
    """Where the folders are. A socket's path must be short."""
    found = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return found if len(str(found)) <= _PATH_LIMIT and os.access(found, os.W_OK) else Path("/tmp")


def _folders() -> list[tuple[Path, bool]]:
    """All that are there, and of each whether its dev runs: killed ones leave theirs behind."""
    found = [(root, _pid(root)) for root in _base().glob(f"{_PREFIX}*-*")]
    return [(root, Path("/proc", pid).exists()) for root, pid in found if pid]


def _canonical(address: str) -> tuple[str, int]:
    host, port = parse_target(address)
    return "localhost" if host in _HERE else host, port


def _pid(root: Path) -> str:
    pid = root.name.removeprefix(_PREFIX).split("-")[0]
    return pid if pid.isdecimal() else ""
