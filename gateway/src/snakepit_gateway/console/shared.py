"""What several pages look at is asked for once: who looks while an answer is fresh, or on its way, shares it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")

MOST_KEPT = 2048
BUSY_SHARE = 0.25
"""An answer that took long is kept for longer, so that asking for it takes this share of the time, or four times as long, at most."""


SETTLED_SECONDS = 10.0
"""What will hardly change is looked at again after so long."""


@dataclass
class _Kept:
    answer: asyncio.Future[Any]
    fresh_until: float

    @property
    def is_over(self) -> bool:
        return self.answer.done() and (time.monotonic() >= self.fresh_until or self.answer.cancelled())


class Shared:
    """Answers by key, which must name who asks. What was looked at longest ago is forgotten first: when it isn't fresh any more, or
    when there is too much."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    async def get(
        self, key: Hashable, seconds: float, ask: Callable[[], Awaitable[T]], settled: Callable[[T], bool] = lambda _: False
    ) -> T:
        """The answer, at most so many seconds old, or SETTLED_SECONDS if it is `settled`. Raises what asking raised, to everybody."""
        kept = self._kept.get(key)
        if kept is None or kept.is_over:
            kept = self._kept[key] = _Kept(asyncio.ensure_future(ask()), 0.0)
            began = time.monotonic()
            kept.answer.add_done_callback(lambda done: self._arrived(kept, _fresh(done, seconds, settled), began, done))
        self._kept.move_to_end(key)
        while self._kept and (len(self._kept) > MOST_KEPT or next(iter(self._kept.values())).is_over):
            self._kept.popitem(last=False)
        return cast(T, await asyncio.shield(kept.answer))

    @staticmethod
    def _arrived(kept: _Kept, seconds: float, began: float, done: asyncio.Future[Any]) -> None:
        now = time.monotonic()
        kept.fresh_until = now + min(max(seconds, (now - began) / BUSY_SHARE), seconds / BUSY_SHARE)
        if not done.cancelled():
            done.exception()  # Whoever shares it has it; nobody may be left.

    def forget(self, begin: tuple[Hashable, ...]) -> None:
        """What was asked under keys that begin so is asked anew: something was changed."""
        for key in [each for each in self._kept if isinstance(each, tuple) and each[: len(begin)] == begin]:
            del self._kept[key]


def _fresh(done: asyncio.Future[T], seconds: float, settled: Callable[[T], bool]) -> float:
    there = not done.cancelled() and done.exception() is None
    return max(seconds, SETTLED_SECONDS) if there and settled(done.result()) else seconds
