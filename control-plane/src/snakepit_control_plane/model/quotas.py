"""Limits, and what is counted against them: calls and sessions of one caller in a pool, bytes of calls that wait, and how full something
is. Pure.

A limit `max_tools_per_client` is SNAKEPIT_MAX_TOOLS_PER_CLIENT in the environment, and maxToolsPerClient wherever people read of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from snakepit._wire.channels import MAX_LARGE_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES
from snakepit.errors import PoolSaturated
from snakepit_control_plane.model.call import Call, Stage
from snakepit_control_plane.model.queue import SHARE, place_of


@dataclass(frozen=True)
class Limits:
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    """Bytes of the arguments, the result or a chunk of a plain gRPC call (SNAKEPIT_MAX_PAYLOAD_BYTES), see docs/operations.md#limits as for
    all of the next."""
    max_large_payload_bytes: int = MAX_LARGE_PAYLOAD_BYTES
    """Bytes of a payload that travels in pieces, through the SDK (SNAKEPIT_MAX_LARGE_PAYLOAD_BYTES)."""
    max_waiting_bytes: int = 256 * 1024 * 1024
    """Bytes of all calls that wait in queues of one replica; half of it may be one caller's (SNAKEPIT_MAX_WAITING_BYTES)."""
    max_kept_result_bytes: int = 1024 * 1024
    """Bytes of a result that is kept under an idempotency key (SNAKEPIT_MAX_KEPT_RESULT_BYTES)."""
    max_kept_bytes_per_caller: int = 128 * 1024 * 1024
    """Bytes of results that one subject has kept under idempotency keys, by one replica (SNAKEPIT_MAX_KEPT_BYTES_PER_CALLER)."""
    max_state_bytes_per_caller: int = 64 * 1024 * 1024
    """Bytes of metadata and state of the sessions that one subject has in a pool (SNAKEPIT_MAX_STATE_BYTES_PER_CALLER)."""
    max_nesting_depth: int = 16
    """Calls that one call may be nested in (SNAKEPIT_MAX_NESTING_DEPTH)."""
    max_calls_per_offering_client: int = 128
    """Calls to one client's tools that may be open (SNAKEPIT_MAX_CALLS_PER_OFFERING_CLIENT)."""
    max_tools_per_client: int = 256
    """Tools that one client offers (SNAKEPIT_MAX_TOOLS_PER_CLIENT)."""
    max_client_tools_per_pool: int = 10_000
    """Tools that clients offer for one pool and its sessions (SNAKEPIT_MAX_CLIENT_TOOLS_PER_POOL)."""
    max_sessions_per_namespace: int = 1_000_000
    """Sessions of all pools of one namespace (SNAKEPIT_MAX_SESSIONS_PER_NAMESPACE)."""
    max_connections: int = 10_000
    """gRPC connections of one replica, whoever's they are (SNAKEPIT_MAX_CONNECTIONS)."""
    max_request_seconds: int = 30
    """Seconds in which a plain gRPC request is whole, from its beginning (SNAKEPIT_MAX_REQUEST_SECONDS)."""
    max_links_per_subject: int = 4_000
    """Links that clients of one subject have open (SNAKEPIT_MAX_LINKS_PER_SUBJECT)."""
    max_links_per_address: int = 2_000
    """Links that clients of one address have open (SNAKEPIT_MAX_LINKS_PER_ADDRESS)."""
    max_hellos_per_second: int = 200
    """Links that one subject, and one address, opens in a second, for a while (SNAKEPIT_MAX_HELLOS_PER_SECOND)."""
    max_calls_per_subject: int = 20_000
    """Calls that one subject has open (SNAKEPIT_MAX_CALLS_PER_SUBJECT)."""
    max_calls_per_address: int = 10_000
    """Calls that one address has open (SNAKEPIT_MAX_CALLS_PER_ADDRESS)."""
    max_call_records: int = 10_000
    """Calls that have ended of which one replica remembers how they went; 0: none, and no history (SNAKEPIT_MAX_CALL_RECORDS)."""

    @property
    def kept_result(self) -> tuple[int, str]:
        """Bytes of a result that can be kept, and the limit that says so: a kept result is given again in one message."""
        return min((self.max_kept_result_bytes, "maxKeptResultBytes"), (self.max_payload_bytes, "maxPayloadBytes"))


def variable(field: str) -> str:
    """The environment's name of a row."""
    return f"SNAKEPIT_{field.upper()}"


MARKS = (80, 100)
SLACK = 5
"""A mark stands until the share is so many points below it: a count that goes to and fro is one crossing."""


@dataclass
class Mark:
    """The highest percentage in MARKS that was reached and still stands; 0: none."""

    standing: int = 0

    def update(self, count: int, most: int) -> bool:
        """Is it another mark now?"""
        share = 100 * count / most if most > 0 else 100
        reached = max((mark for mark in MARKS if share >= mark or (mark <= self.standing and share > mark - SLACK)), default=0)
        changed, self.standing = reached != self.standing, reached
        return changed


class Callers(Stage):
    """How many calls each caller has open in one pool, where the pool sets a limit (`call.maxConcurrentPerCaller`).

    A call counts until its caller has been answered and its slot is free again: who cancels a call that doesn't stop has not got rid of
    it. `limit` 0: none, and nothing is counted. A caller without an open call is forgotten.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, call: Call) -> bool:
        """Count the call until it has ended, unless its caller has as many as it may have."""
        caller = call.request.caller
        count = self._open.get(caller, 0)
        if count >= self.limit:
            return False
        self._open[caller] = count + 1
        call.passes(self)
        return True

    def ended(self, call: Call, now: float) -> None:
        caller = call.request.caller
        left = self._open[caller] - 1
        if left:
            self._open[caller] = left
        else:
            del self._open[caller]


def may_own(mine: int, free: int, per_owner: int) -> bool:
    """May an owner of `mine` sessions make one more, where so many places are free? `per_owner`: session.maxPerCaller; 0: none is set, and
    nobody takes all of them, as in a pool's queue."""
    return mine < (per_owner or SHARE * free)


SMALL_BYTES = 4 * 1024
"""A call up to here is not counted: the queues bound how many there are."""

RETRY_SECONDS = 1.0


class MemoryBudget:
    """How many bytes calls that wait may hold at this replica, whatever pool they wait in: `most`; half of it may be one caller's."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._callers: dict[Hashable, int] = {}

    def take(self, call: Call, *, anyway: bool = False) -> bool:
        """Count the call, which begins to wait. False: there is no room. `anyway`: it has waited before, and came back."""
        size, caller = call.bytes, call.request.caller
        if size <= SMALL_BYTES or (call.place is not None and call.place.bytes):
            return True
        mine = self._callers.get(caller, 0) + size
        if not anyway and (self.taken + size > self.most or (mine > size and mine > self.most // 2)):
            return False
        self.taken += size
        self._callers[caller] = mine
        place_of(call).bytes = size
        return True

    def give_back(self, call: Call) -> None:
        """It waits no more."""
        place, caller = call.place, call.request.caller
        if place is None or not place.bytes:
            return
        size, place.bytes = place.bytes, 0
        self.taken -= size
        left = self._callers.pop(caller) - size
        if left:
            self._callers[caller] = left

    def full(self, call: Call) -> PoolSaturated:
        """The refusal of a call that found none."""
        limit = f"maxWaitingBytes allows {self.most}, half of it to one caller"
        message = f"calls that wait hold {self.taken} bytes here, and this one has {call.bytes}: {limit}"
        return PoolSaturated(message, retry_after=RETRY_SECONDS, details={"limit": "maxWaitingBytes", "bytes": str(self.most)})
