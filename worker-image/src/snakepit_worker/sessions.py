"""Which sessions this worker has served, so that the adapter's session hooks run once each."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from snakepit.authoring import Adapter

MAX_SESSIONS = 10_000
"""The least recently used one ends for this worker when there are more."""

logger = logging.getLogger("snakepit.worker")


class Sessions:
    """`hook` runs an adapter's method to its end, async or not."""

    def __init__(self, adapter: Adapter, hook: Callable[..., Any]) -> None:
        self._adapter = adapter
        self._hook = hook
        # Each with the uid and epoch under which it is served.
        self._served: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._lock = threading.Lock()
        kind = type(adapter)
        self._wanted = kind.on_session_start is not Adapter.on_session_start or kind.on_session_end is not Adapter.on_session_end

    def begin(self, session_id: str, uid: str = "", epoch: int = 0) -> None:
        """Before a call of that session. Raises what the author's hook raises: the session counts as new again."""
        if not session_id or not self._wanted:
            return
        oldest = ""
        with self._lock:
            known = self._served.pop(session_id, None)
            if known is not None and known != (uid, epoch):
                # It was elsewhere in between, or is another one of the same name: the word of its end is still on its way.
                self._tell_end(session_id)
                known = None
            if known is None:
                self._hook(self._adapter.on_session_start, session_id)
            self._served[session_id] = (uid, epoch)
            if len(self._served) > MAX_SESSIONS:
                oldest, _ = self._served.popitem(last=False)
        if oldest:
            self._tell_end(oldest)

    def end(self, session_id: str, uid: str = "", epoch: int = 0) -> None:
        """The session is over here, unless it has come back meanwhile: `uid` and `epoch` say which life of it is meant, if given."""
        with self._lock:
            known = self._served.get(session_id)
            if known is None or uid not in ("", known[0]) or epoch not in (0, known[1]):
                return
            del self._served[session_id]
        self._tell_end(session_id)

    def _tell_end(self, session_id: str) -> None:
        """A failing hook is logged: nobody waits for it."""
        try:
            self._hook(self._adapter.on_session_end, session_id)
        except BaseException:  # sys.exit() there must not end the worker
            logger.exception("on_session_end failed for session %s", session_id)
