"""Tells in the log why workers can't start: each cause once, and then, at growing intervals, that it lasts."""

from __future__ import annotations

import logging
import time

from snakepit_agent.model.seats import Seat
from snakepit_agent.model.start_failures import StartFailures, cause

log = logging.getLogger(__name__)


class StartLog:
    """Of one capsule: its workers mostly fail alike."""

    def __init__(self) -> None:
        self._known = StartFailures()

    def failed(self, worker: str, reason: str, message: str, traceback: str) -> None:
        """A worker says why it can't start, or somebody says it for it."""
        of = cause(reason, message)
        if self._known.is_news(of, time.monotonic()):
            told = f"a worker can't start: {reason}: {message}" + (f"\n{traceback.rstrip()}" if traceback else "")
            log.error("%s", told, extra={"worker": worker, "cause": of})

    def ended(self, seat: Seat, worker: str, stacks: str) -> None:
        """Its process is dead, for a reason that may have been told."""
        self.failed(worker, seat.reason, seat.message, seat.traceback or stacks)
        now, of = time.monotonic(), cause(seat.reason, seat.message)
        tries = self._known.ended(of, now)
        if tries:
            told = f"still failing, {tries} tries, next in {max(0.0, seat.retry_at - now):.0f} s: {seat.reason}: {seat.message}"
            log.warning("%s", told, extra={"worker": worker, "cause": of, "tries": tries})

    def forget(self) -> None:
        """Nothing fails any more, or somebody wants to know anew."""
        self._known.forget()
