"""Which sessions this worker has served, so that the adapter's session hooks run once each."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from snakepit.tools import Adapter

MAX_SESSIONS = 10_000
"""The least recently used one ends for this worker when there are more."""

logger = logging.getLogger("snakepit.worker")


class Sessions:
    """`hook` runs an adapter's method to its end, async or not."""

    def __init__(self, adapter: Adapter, hook: Callable[..., Any]) -> None:
        self._adapter = adapter
        self._hook = hook
        self._served: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        kind = type(adapter)
        self._wanted = kind.on_session_start is not Adapter.on_session_start or kind.on_session_end is not Adapter.on_session_end

    def begin(self, session_id: str) -> None:
        """Before a call of that session. Raises what the author's hook raises: the session counts as new again."""
        if not session_id or not self._wanted:
            return
        with self._lock:
            if session_id not in self._served:
                self._hook(self._adapter.on_session_start, session_id)
            self._served[session_id] = None
            self._served.move_to_end(session_id)
            oldest = next(iter(self._served)) if len(self._served) > MAX_SESSIONS else ""
        if oldest:
            self.end(oldest)

    def end(self, session_id: str) -> None:
        """The session is over here. A failing hook is logged: nobody waits for it."""
        with self._lock:
            if session_id not in self._served:
                return
            del self._served[session_id]
        try:
            self._hook(self._adapter.on_session_end, session_id)
        except Exception:
            logger.exception("on_session_end failed for session %s", session_id)
