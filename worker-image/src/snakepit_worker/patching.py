"""Libraries that replace `threading` and `socket` by their own when they are told to, as gevent and eventlet do.

A worker waits in threads and sockets of Python's own. Replaced ones wake it in another order, or never.
"""

from __future__ import annotations

import socket
import threading

from snakepit.author.adapter import Adapter, AdapterError
from snakepit.author.loading import load

_PATCHERS = ("gevent", "eventlet")


def load_unpatched(adapter: str) -> type[Adapter]:
    """Import the adapter. Raises AdapterError, and whatever the import does; a patch may be why it has failed."""
    try:
        return load(adapter)
    finally:
        _refuse(adapter)


def _refuse(adapter: str) -> None:
    for module in (threading, socket):
        for value in vars(module).values():
            if (by := str(getattr(value, "__module__", "")).partition(".")[0]) in _PATCHERS:
                raise AdapterError(
                    f"importing {adapter} lets {by} patch {module.__name__}, which a worker needs as it is: leave monkey.patch_all() out; "
                    "async tools, and tools in the profile thread, wait side by side without it"
                )
