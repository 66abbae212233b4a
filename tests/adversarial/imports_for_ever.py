"""A module whose import waits for a lock that nobody gives back."""

from __future__ import annotations

import importlib
import sys
import threading

from snakepit import tool

OUTCOME = "DEADLINE: *the deadline *passed*"
TIMEOUT = 0.2


@tool
def imports_for_ever() -> None:
    lock = threading.Lock()
    lock.acquire()
    sys.meta_path.insert(0, type("Finder", (), {"find_spec": staticmethod(lambda *_: lock.acquire())}))
    importlib.import_module("nowhere_at_all")
