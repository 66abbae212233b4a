"""What a store keeps under an idempotency key: who runs the call, then its outcome. The interface, and the store of one process's memory.

A claim belongs to one run of one replica. A replica is alive while it holds its lease; a claim whose replica is not has been orphaned,
and whoever finds it writes down that the call may have run. Outcomes are bytes to a store. No store client is imported here.
"""

from __future__ import annotations

import enum
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from snakepit.errors import StoreUnavailable

MOST_MEMORY_BYTES = 64 * 1024 * 1024
"""Of all outcomes that the store of one process's memory keeps."""


class ClaimState(enum.IntEnum):
    """What was found under a key; the numbers are those of claim_call.lua."""

    OTHER = 0
    """The key was used for a call with another tool, session or arguments."""
    OURS = 1
    RUNNING = 2
    DONE = 3


@dataclass(frozen=True)
class Run:
    """One run under a key. `digest` stands for what the call asks; `replica` and `id` say whose run it is."""

    pool: str
    key: str
    digest: str
    replica: str
    id: str


@dataclass(frozen=True)
class Found:
    """What was found under a key; `outcome` where it is done."""

    state: ClaimState
    outcome: bytes = b""


class Claims(Protocol):
    """All raise StoreUnavailable, after which the operation may have happened or not."""

    async def claim(self, run: Run, *, lease_seconds: float, keep_seconds: float, lost: bytes) -> Found:
        """Take the key if it is free, or left behind by this very replica; else what is there. An orphaned claim becomes `lost`."""

    async def finish(self, run: Run, outcome: bytes, keep_seconds: float) -> bool:
        """Keep the outcome of this run, also over an orphan's. False: the key is another run's by now, whose record stays."""

    async def release(self, run: Run) -> None:
        """The call has not started and never will: the key is free again. Nothing if it is not this run's."""

    async def hold(self, pool: str, replica: str, lease_seconds: float) -> bool:
        """Renew the replica's lease. False: the store knew nothing of it (it came back empty)."""

    async def joined(self, run: Run) -> bool:
        """Has another replica asked after this run?"""


@dataclass
class _Record:
    run: Run
    expires: float
    outcome: bytes | None = None
    joined: bool = False


class MemoryClaims:
    """`clock` gives seconds. What expires is forgotten when the next claim comes."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._records: dict[tuple[str, str], _Record] = {}
        self._expiry: list[tuple[float, str, str]] = []
        self._leases: dict[tuple[str, str], float] = {}
        self._bytes = 0

    async def claim(self, run: Run, *, lease_seconds: float, keep_seconds: float, lost: bytes) -> Found:
        now = self._clock()
        self._sweep(now)
        there = self._records.get((run.pool, run.key))
        if there is None or (there.outcome is None and there.run.replica == run.replica and there.run.digest == run.digest):
            self._leases[run.pool, run.replica] = now + lease_seconds
            self._put(_Record(run, now + keep_seconds))
            return Found(ClaimState.OURS)
        if there.run.digest != run.digest:
            return Found(ClaimState.OTHER)
        if there.outcome is None and self._leases.get((run.pool, there.run.replica), 0.0) > now:
            there.joined = True
            return Found(ClaimState.RUNNING)
        if there.outcome is None:
            self._settle(there, lost, now + keep_seconds)
        return Found(ClaimState.DONE, there.outcome or b"")

    async def finish(self, run: Run, outcome: bytes, keep_seconds: float) -> bool:
        now = self._clock()
        self._sweep(now)
        there = self._records.get((run.pool, run.key))
        if there is not None and there.run != run:
            return False
        if self._bytes + len(outcome) > MOST_MEMORY_BYTES:
            raise StoreUnavailable(f"the outcomes under idempotency keys have {MOST_MEMORY_BYTES} bytes: the memory store keeps no more")
        self._settle(there or _Record(run, now), outcome, now + keep_seconds)
        return True

    async def release(self, run: Run) -> None:
        there = self._records.get((run.pool, run.key))
        if there is not None and there.run == run and there.outcome is None:
            del self._records[run.pool, run.key]

    async def hold(self, pool: str, replica: str, lease_seconds: float) -> bool:
        known = (pool, replica) in self._leases
        self._leases[pool, replica] = self._clock() + lease_seconds
        return known

    async def joined(self, run: Run) -> bool:
        there = self._records.get((run.pool, run.key))
        return there is not None and there.run == run and there.joined

    # ---- inside

    def _put(self, record: _Record) -> None:
        self._records[record.run.pool, record.run.key] = record
        heapq.heappush(self._expiry, (record.expires, record.run.pool, record.run.key))

    def _settle(self, record: _Record, outcome: bytes, expires: float) -> None:
        self._bytes += len(outcome) - len(record.outcome or b"")
        record.outcome, record.expires = outcome, expires
        self._put(record)

    def _sweep(self, now: float) -> None:
        while self._expiry and self._expiry[0][0] <= now:
            _, pool, key = heapq.heappop(self._expiry)
            record = self._records.get((pool, key))
            if record is not None and record.expires <= now:
                del self._records[pool, key]
                self._bytes -= len(record.outcome or b"")
