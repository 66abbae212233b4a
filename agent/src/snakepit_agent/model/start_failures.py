"""What the log says of workers that can't start: each cause once, and then, seldomer and seldomer, that it lasts. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from snakepit._retry import Backoff

PAUSES = Backoff(10.0, 600.0)
"""Between two lines that say that a cause lasts; in seconds."""

MOST_CAUSES = 16
"""The oldest is forgotten: when it comes again, it is told again."""

_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


@dataclass
class _Cause:
    tries: int = 0
    next_at: float = 0.0
    pause: float = PAUSES.first


def cause(reason: str, message: str) -> str:
    """What stays the same from one try to the next: addresses, process ids and times don't."""
    return _VARYING.sub("#", f"{reason}: {message}")


class StartFailures:
    """Of one capsule: its workers mostly fail alike. `now`: monotonic seconds."""

    def __init__(self) -> None:
        self._causes: dict[str, _Cause] = {}

    def is_news(self, cause: str, now: float) -> bool:
        """Has it to be told in full? It is known from now on."""
        if cause in self._causes:
            return False
        if len(self._causes) >= MOST_CAUSES:
            del self._causes[next(iter(self._causes))]
        self._causes[cause] = _Cause(next_at=now + PAUSES.first)
        return True

    def ended(self, cause: str, now: float) -> int:
        """A worker ended of it. So many have, if it is time to say that it lasts; else 0."""
        known = self._causes[cause]
        known.tries += 1
        if now < known.next_at:
            return 0
        known.pause = PAUSES.after(known.pause)
        known.next_at = now + known.pause
        return known.tries

    def forget(self) -> None:
        """Nothing fails any more, or somebody wants to know anew."""
        self._causes.clear()
