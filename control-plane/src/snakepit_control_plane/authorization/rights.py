"""Who may do what: asked of somebody who knows, kept for a while, and kept longer while nobody can be asked.

How long is `policy.rights`' to say. A call waits for an answer only where none is known. A question that fails may fail for what it asks:
then it alone is not asked for a while, and its own last answer holds. Two that fail one after the other say that nobody answers, and so
does whoever can't be reached. Then a question goes on being asked, one that somebody wants to know: so it is known when that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice

from snakepit._values.strings import quoted
from snakepit.errors import ServerUnavailable
from snakepit_control_plane.authorization.access import Access
from snakepit_control_plane.authorization.audit import Audit
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import Answer, Freshness, Right, freshness

PAUSE_SECONDS = 5.0
"""Between the questions while nobody answers, or between two times that one is asked which fails."""

DOUBTS = 2
"""So many different questions that fail, and no answer in between: nobody answers."""

MOST_KEPT = 8192
AT_A_TIME = 8
"""Questions that are being asked; others wait for their turn, and give up where nobody answers."""

MOST_AGAIN = AT_A_TIME // 2
"""Questions that fail of which so many are asked again after each pause, in turns: they may take long, and others need turns, too."""

MOST_ASKED = 1024
"""That are asked or wait: a gateway may bring hundreds of callers at once. Who brings one more is told to come back."""

Key = tuple[str, tuple[str, ...], Right, str]
Ask = Callable[[Caller, Right, str], Awaitable[Answer]]
"""Raises ServerUnavailable, best as one of the two below where it is known which it is."""

log = logging.getLogger(__name__)


class Unreachable(ServerUnavailable):
    """Nobody is there to be asked anything."""


class Unanswerable(ServerUnavailable):
    """Whoever is asked is there, and doesn't answer this question."""


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    at: float


class Rights(Access):
    """`ask` asks whoever knows; `clock` in seconds, monotonic; `close` is called when nothing is asked any more."""

    def __init__(
        self, ask: Ask, audit: Audit, clock: Callable[[], float] = time.monotonic, close: Callable[[], None] = lambda: None
    ) -> None:
        self._ask, self._close = ask, close
        self._audit = audit
        self._clock = clock
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[Answer]] = {}
        self._turns = asyncio.Semaphore(AT_A_TIME)
        self._away: ServerUnavailable | None = None
        self._away_since = 0.0
        # Questions that failed when they were asked last, within a pause; or for longer, while their last answers hold.
        self._failing: dict[Key, tuple[ServerUnavailable, Caller]] = {}
        # Those that failed since somebody answered.
        self._doubts: set[Key] = set()
        self._trying: asyncio.TimerHandle | None = None
        # What was answered last: whether anybody answers is asked with this, as a question that failed may fail for what it asks.
        self._answered: tuple[Key, Caller] | None = None
        # What somebody wanted to know last, while nobody answers, and it hasn't failed: what was answered last may be what fails.
        self._wanted: tuple[Key, Caller] | None = None

    @property
    def kept(self) -> int:
        """How many answers are."""
        return len(self._kept)

    @property
    def is_away(self) -> bool:
        """Does nobody answer now?"""
        return self._away is not None

    def known(self, caller: Caller, right: Right, pool: str) -> Answer | None:
        """What holds now, without a wait; None: it must be asked for."""
        key = (caller.subject, caller.groups, right, pool)
        kept = self._kept.get(key)
        if kept is None:
            return None
        fails = self._away is not None or key in self._failing
        fresh = freshness(kept.answer, self._clock() - kept.at, away=fails)
        if fresh is Freshness.STALE:
            return None
        if fresh is Freshness.AGING and not fails:
            with contextlib.suppress(ServerUnavailable):  # Too many are asked for: the next call asks.
                self._start(key, caller)
        elif fresh is Freshness.AGING:
            self._want(key, caller)
        return kept.answer

    async def answer(self, caller: Caller, right: Right, pool: str) -> Answer:
        """See `access.Access`."""
        if (answer := self.known(caller, right, pool)) is not None:
            return answer
        key = (caller.subject, caller.groups, right, pool)
        if self._away is not None:
            self._want(key, caller)
            raise _again(self._away)
        if key in self._failing:
            raise _again(self._failing[key][0])
        try:
            return await asyncio.shield(self._start(key, caller))
        except ServerUnavailable:
            if (answer := self.known(caller, right, pool)) is None:
                raise
            return answer

    def decided(self, caller: Caller, right: Right, pool: str, answer: Answer) -> None:
        """See `access.Access`."""
        self._audit.decided(caller, right, pool, answer)

    def forget(self) -> None:
        """Ask again for everything."""
        self._kept.clear()

    async def stop(self) -> None:
        for asking in self._asking.values():
            asking.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        if self._trying is not None:
            self._trying.cancel()
        self._close()

    def _start(self, key: Key, caller: Caller, *, again: bool = False) -> asyncio.Task[Answer]:
        """One question, whoever waits for its answer; `again`: though nobody answers. Raises ServerUnavailable."""
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= MOST_ASKED:
                raise ServerUnavailable(f"{MOST_ASKED} rights are being asked for: try again", retry_after=0.1)
            asking = self._asking[key] = asyncio.create_task(self._look(key, caller, again), name="ask for a right")
            asking.add_done_callback(lambda done: self._asked(key, done))
        return asking

    async def _look(self, key: Key, caller: Caller, again: bool) -> Answer:
        async with self._turns:
            if self._away is not None and not again:
                raise _again(self._away)
            asked = self._clock()
            try:
                answer = await self._ask(caller, key[2], key[3])
            except Exception as error:
                self._failed(key, caller, error)
                raise
        self._somebody_answers()
        self._failing.pop(key, None)
        self._answered = key, caller
        self._kept[key] = _Kept(answer, asked)
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return answer

    def _asked(self, key: Key, done: asyncio.Task[Answer]) -> None:
        del self._asking[key]
        if not done.cancelled():
            done.exception()  # Whoever waits for it has it, and perhaps nobody does.

    # ---- failures

    def _failed(self, key: Key, caller: Caller, error: Exception) -> None:
        unavailable = error if isinstance(error, ServerUnavailable) else ServerUnavailable(f"rights can't be asked for: {error!r}")
        if key not in self._failing and self._away is None:
            log.warning("whether %s may %s of %s can't be asked for, and the last answer goes on: %s", *_words(key), unavailable)
        if isinstance(unavailable, Unanswerable):
            self._somebody_answers()
        else:
            self._doubt(key, unavailable)
        self._failing.pop(key, None)  # It is the last one to be asked again.
        if len(self._failing) < MOST_KEPT:
            self._failing[key] = unavailable, caller
        if self._trying is None:
            self._try_again_later()

    def _somebody_answers(self) -> None:
        if self._away is not None and self._clock() - self._away_since >= PAUSE_SECONDS:
            self._failing.clear()  # What has failed meanwhile may not have failed for what it asks.
        self._away = None
        self._doubts.clear()

    def _doubt(self, key: Key, error: ServerUnavailable) -> None:
        """Whether anybody answers: another question says so, and it is asked now if there is one that was answered."""
        if len(self._doubts) < DOUBTS:
            self._doubts.add(key)
        if self._away is None and self._answered is not None and self._answered[0] not in self._doubts:
            self._ask_again(*self._answered)
        if isinstance(error, Unreachable) or len(self._doubts) >= DOUBTS:
            if self._away is None:
                log.warning("rights can't be asked for, and the last answers go on: %s", error)
                self._away_since = self._clock()
            self._away = error

    def _try_again_later(self) -> None:
        self._trying = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._try_again)

    def _want(self, key: Key, caller: Caller) -> None:
        if key not in self._failing:
            self._wanted = key, caller

    def _try_again(self) -> None:
        """One question, while nobody answers; else some that fail, for as long as their last answers hold. The others' next callers ask."""
        self._trying = None
        if self._away is None:
            self._failing = {key: failed for key, failed in self._failing.items() if self._holds(key)}
        if not self._failing:
            return
        self._try_again_later()
        if self._away is None:
            for key, (_, caller) in list(islice(self._failing.items(), MOST_AGAIN)):
                self._ask_again(key, caller)
        else:
            key, (_, caller) = next(iter(self._failing.items()))
            self._ask_again(*(self._wanted or self._answered or (key, caller)))
            self._wanted = None

    def _holds(self, key: Key) -> bool:
        kept = self._kept.get(key)
        return kept is not None and freshness(kept.answer, self._clock() - kept.at, away=True) is not Freshness.STALE

    def _ask_again(self, key: Key, caller: Caller) -> None:
        with contextlib.suppress(ServerUnavailable):  # Too many are asked for: it is asked the next time.
            self._start(key, caller, again=True)


def _again(error: ServerUnavailable) -> ServerUnavailable:
    """To be raised to one more caller, without the frames of those before: an error keeps all that it has passed."""
    return error.with_traceback(None)


def _words(key: Key) -> tuple[str, Right, str]:
    subject, _, right, what = key
    return quoted(subject), right, what
