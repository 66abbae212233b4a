"""Who may do what: asked of somebody who knows, kept for a while, and kept longer while nobody can be asked.

A right that is given or taken holds within KEPT_SECONDS. A call waits for an answer only where none is known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from snakepit.errors import ServerUnavailable
from snakepit_control_plane.authorization.access import Access
from snakepit_control_plane.authorization.audit import Audit
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import Answer, Freshness, Right, denied, freshness

PAUSE_SECONDS = 5.0
"""After a question that nobody answered; until then the next ones are not asked."""

MOST_KEPT = 8192
MOST_ASKED = 64
"""Questions that may be open at a time. Who brings one more is told to come back."""

Key = tuple[str, tuple[str, ...], Right, str]
Ask = Callable[[Caller, Right, str], Awaitable[Answer]]
"""Raises ServerUnavailable."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    at: float


class Rights(Access):
    """`ask` asks whoever knows; `clock` in seconds, monotonic."""

    def __init__(self, ask: Ask, audit: Audit, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._audit = audit
        self._clock = clock
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[Answer]] = {}
        self._away: ServerUnavailable | None = None
        self._away_since = 0.0

    @property
    def kept(self) -> int:
        """How many answers are."""
        return len(self._kept)

    def known(self, caller: Caller, right: Right, pool: str) -> Answer | None:
        """What holds now, without a wait; None: it must be asked for."""
        key = (caller.subject, caller.groups, right, pool)
        kept = self._kept.get(key)
        if kept is None:
            return None
        fresh = freshness(kept.answer, self._clock() - kept.at, away=self._away is not None)
        if fresh is Freshness.STALE:
            return None
        if fresh is Freshness.AGING and not self._pauses():
            self._start(key, caller)
        return kept.answer

    async def check(self, caller: Caller, right: Right, pool: str) -> None:
        """Raises PermissionDenied, or ServerUnavailable where nobody can be asked and nothing is known."""
        answer = self.known(caller, right, pool)
        if answer is None:
            if self._away is not None and self._pauses():
                raise self._away
            key = (caller.subject, caller.groups, right, pool)
            try:
                answer = await asyncio.shield(self._start(key, caller))
            except ServerUnavailable:
                if (answer := self.known(caller, right, pool)) is None:
                    raise
        self._audit.decided(caller, right, pool, answer)
        if not answer.allowed:
            raise denied(caller.subject, right, pool, answer.reason)

    def forget(self) -> None:
        """Ask again for everything."""
        self._kept.clear()

    async def stop(self) -> None:
        for asking in self._asking.values():
            asking.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _pauses(self) -> bool:
        return self._away is not None and self._clock() - self._away_since < PAUSE_SECONDS

    def _start(self, key: Key, caller: Caller) -> asyncio.Task[Answer]:
        """One question, whoever waits for its answer. Raises ServerUnavailable."""
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= MOST_ASKED:
                raise ServerUnavailable(f"{MOST_ASKED} rights are being asked for: try again", retry_after=0.1)
            asking = self._asking[key] = asyncio.create_task(self._look(key, caller), name="ask for a right")
            asking.add_done_callback(lambda done: self._asked(key, done))
        return asking

    async def _look(self, key: Key, caller: Caller) -> Answer:
        answer = await self._ask(caller, key[2], key[3])
        self._kept[key] = _Kept(answer, self._clock())
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return answer

    def _asked(self, key: Key, done: asyncio.Task[Answer]) -> None:
        del self._asking[key]
        error = None if done.cancelled() else done.exception()
        if isinstance(error, ServerUnavailable):
            if str(error) != str(self._away or ""):
                log.warning("rights can't be asked for, and the last answers go on: %s", error)
            self._away, self._away_since = error, self._clock()
        elif error is None:
            self._away = None
