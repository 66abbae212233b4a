"""An adapter whose import does what LEAVE names, and whose tools show what a fork of it would have shared."""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
import weakref
from pathlib import Path
from typing import Any

from snakepit import Adapter, tool

HERE = Path(os.environ.get("LEAVE_IN", tempfile.gettempdir()))
kept: list[Any] = []
_libc = ctypes.CDLL(None)


def _named_thread() -> None:
    """As a library's: Python doesn't know it."""
    name = os.environ["LEAVE_NAME"].encode()
    named = threading.Event()

    def run() -> None:
        _libc.prctl(15, ctypes.c_char_p(name), 0, 0, 0)
        named.set()
        threading.Event().wait()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    named.wait()
    del threading._active[thread.ident]  # type: ignore[attr-defined]  # noqa: SLF001  # As a thread of a library in C: Python has none.


def _torch(initialized: bool, poisoned: bool) -> None:
    importer = os.getpid()
    torch: Any = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_initialized=lambda: initialized, _is_in_bad_fork=lambda: poisoned and os.getpid() != importer)
    torch.default_generator = random.Random(7)
    sys.modules["torch"] = torch


def _append_and_write() -> None:
    kept.append((HERE / "appended.log").open("a+"))
    kept.append((HERE / "written.log").open("w"))
    kept.append(os.open(os.devnull, os.O_RDONLY))
    kept.append(os.dup(1))


def _map() -> None:
    (HERE / "mapped").write_bytes(b"x" * 5000)
    with (HERE / "mapped").open("rb") as file:
        kept.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _file() -> None:
    (HERE / "lines").write_text("".join(f"{n}\n" for n in range(100)))
    kept.append((HERE / "lines").open("rb", buffering=0))


def _seeded() -> None:
    import numpy.random

    numpy.random.seed(7)
    _torch(False, False)


def _folder() -> None:
    """A temporary folder, by each of the ways to see to its end."""
    kept.append(tempfile.TemporaryDirectory(dir=HERE, prefix="finalized-"))
    folder = tempfile.mkdtemp(dir=HERE, prefix="registered-")
    atexit.register(shutil.rmtree, folder)
    kept.append(types.SimpleNamespace(name=folder))


LEAVE = {
    "": lambda: None,
    "file": _file,
    "sqlite": lambda: kept.append(sqlite3.connect(HERE / "data.db")),
    "pipe": lambda: kept.append(os.pipe()),
    "child": lambda: kept.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)),
    "ended child": lambda: kept.append(subprocess.Popen(["true"])),
    "harmless files": _append_and_write,
    "mapped file": _map,
    "thread": _named_thread,
    "folder": _folder,
    "seeds": _seeded,
    "torch": lambda: _torch(False, False),
    "torch in use": lambda: _torch(True, False),
    "torch poisoned": lambda: _torch(False, True),
}
LEAVE[os.environ.get("LEAVE", "")]()


class Imports(Adapter):
    def setup(self) -> None:
        if note := os.environ.get("LEAVE_NOTE"):
            atexit.register(Path(note).write_text, "exit")
            self.held = tempfile.TemporaryDirectory(dir=HERE, prefix="own-")
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))  # so that only the end of the process ends it
            weakref.finalize(self, Path(note + ".finalized").write_text, "finalized")

    @tool
    def pid(self) -> int:
        return os.getpid()

    @tool
    def folders(self) -> list[bool]:
        return [Path(each.name).is_dir() for each in kept]

    @tool
    def line(self) -> str:
        return os.read(kept[0].fileno(), 3).decode()

    @tool
    def draw(self) -> list[float]:
        import numpy.random

        return [float(numpy.random.random()), sys.modules["torch"].default_generator.random()]
