"""Which sessions this worker has served, so that the adapter's session hooks run once each."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from snakepit.author.adapter import Adapter

MAX_SESSIONS = 10_000
"""The least recently used one ends for this worker when there are more."""

logger = logging.getLogger("snakepit.worker")


class _Life:
    """A session under the uid and epoch with which it is served here. `started`: its hook has come back."""

    def __init__(self, uid: str, epoch: int) -> None:
        self.key = uid, epoch
        self.started = threading.Event()


class Sessions:
    """`hook` runs an adapter's method to its end, async or not."""

    def __init__(self, adapter: Adapter, hook: Callable[..., Any]) -> None:
        self.adapter = adapter
        self._hook = hook
        self._served: OrderedDict[str, _Life] = OrderedDict()
        self._lock = threading.Lock()
        kind = type(adapter)
        self._wanted = kind.on_session_start is not Adapter.on_session_start or kind.on_session_end is not Adapter.on_session_end

    def begin(self, session_id: str, uid: str, epoch: int, start: Callable[[], object]) -> None:
        """Before a call of that session. `start` runs the author's hook, and other calls of the session wait for it: those of others don't.

        Raises what the hook raises: the session counts as new again.
        """
        if not self._wanted:
            return
        while not self._has_begun(session_id, (uid, epoch), start):
            pass  # the hook failed in the call that was waited for: it is this one's turn

    def _has_begun(self, session_id: str, key: tuple[str, int], start: Callable[[], object]) -> bool:
        with self._lock:
            known = self._served.get(session_id)
            if known is not None and known.key == key:
                self._served.move_to_end(session_id)
            else:
                life = self._served[session_id] = _Life(*key)
                self._served.move_to_end(session_id)
                oldest = self._served.popitem(last=False)[0] if len(self._served) > MAX_SESSIONS else ""
        if known is not None and known.key == key:
            return known.started.is_set() or (known.started.wait() and self._served.get(session_id) is known)
        if known is not None:
            # It was elsewhere in between, or is another one of the same name: the word of its end is still on its way.
            known.started.wait()
            self._tell_end(session_id)
        if oldest:
            self._tell_end(oldest)
        self._start(session_id, life, start)
        return True

    def _start(self, session_id: str, life: _Life, start: Callable[[], object]) -> None:
        try:
            self._hook(start)
        except BaseException:
            with self._lock:
                if self._served.get(session_id) is life:
                    del self._served[session_id]
            raise
        finally:
            life.started.set()

    def end(self, session_id: str, uid: str = "", epoch: int = 0) -> None:
        """The session is over here, unless it has come back meanwhile: `uid` and `epoch` say which life of it is meant, if given."""
        with self._lock:
            known = self._served.get(session_id)
            if known is None or uid not in ("", known.key[0]) or epoch not in (0, known.key[1]):
                return
            del self._served[session_id]
        known.started.wait()
        self._tell_end(session_id)

    def _tell_end(self, session_id: str) -> None:
        """A failing hook is logged: nobody waits for it."""
        try:
            self._hook(self.adapter.on_session_end, session_id)
        except BaseException:  # sys.exit() there must not end the worker
            logger.exception("on_session_end failed for session %s", session_id)
