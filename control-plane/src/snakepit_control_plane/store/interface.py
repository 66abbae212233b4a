"""What the control plane asks of a store, and the values that go in and out. No store client is imported here.

Every method either has happened wholly or raises `StoreUnavailable`, soon; none hangs. Times are Unix seconds of the store's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from snakepit.errors import SnakepitError, Started
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.session import Ended, Fence, SessionRecord
from snakepit_control_plane.store.claims import Claims


@dataclass(frozen=True)
class StoredValue:
    """A value of a session's state, and its version."""

    value: common_pb2.Payload
    version: int


@dataclass(frozen=True)
class StoredKey:
    """A key of a session's state, without its value."""

    key: str
    version: int
    size_bytes: int


@dataclass(frozen=True)
class Written:
    """`done` is False for a conflict; `version` is the one that is there now (0: absent)."""

    done: bool
    version: int


class UnreadableRecord(SnakepitError):
    """A stranger, or another release, has made something of a session's record that nobody can read.

    `record`: what could be read of it, and nothing for the rest; whose it says it is may be wrong.
    """

    def __init__(self, record: SessionRecord, why: str) -> None:
        whoever = "whoever may delete others' sessions (delete snakepools/sessions) must delete it"
        super().__init__(
            f"the store's record of session {record.id!r} of pool {record.pool} can't be read ({why}): {whoever}", started=Started.NO
        )
        self.record = record

    @property
    def id(self) -> str:
        return self.record.id


class Store(Protocol):
    """Unknown sessions raise SessionNotFound, those whose record can't be read UnreadableRecord, other fences StaleEpoch, exceeded limits
    SessionQuota, CallerLimit or StateQuota.

    What an owner's sessions hold in a pool is counted, and gone with them: metadata, state, and something for each session and key. What
    goes beyond `owner_bytes` is CallerLimit. Who has no name has no bound.
    """

    @property
    def claims(self) -> Claims:
        """What is kept under idempotency keys."""

    async def start(self) -> None:
        """Begin to connect; returns at once, whether the store is there or not."""

    async def close(self) -> None:
        """End all connections."""

    def measure(self, told: Callable[[str, float | None], None]) -> None:
        """Tell of each operation that asks a server which one it is, and after how many seconds it was answered; None: it failed.

        It is named after the script, such as bind_session, or the command.
        """

    @property
    def problem(self) -> str:
        """Why the store can't be used now, in a sentence; empty when it can."""

    @property
    def returns(self) -> int:
        """So many times it was away and has come back: what was read before may be otherwise, as others may have had it meanwhile."""

    async def save_pool(self, settings: link_pb2.PoolSettings, *, override: bool) -> link_pb2.PoolSettings:
        """Keep the settings if nothing is there that they may not replace (see `supersedes`); returns what is kept.

        `override`: they are the operator's. An agent's never replace any.
        """

    async def load_pools(self) -> list[link_pb2.PoolSettings]:
        """The settings of all pools but those that were deleted."""

    async def renew_leases(self, pool: str, seconds: Mapping[str, float]) -> list[str]:
        """Say of agents, by incarnation, for how long they count as alive; returns those that a replica has declared lost before."""

    async def declare_lost(self, pool: str, incarnation: str, ttl_seconds: float) -> float:
        """Fence the agent for `ttl_seconds`: 0. While it counts as alive, nothing is done: the seconds for which it still does."""

    async def has_lease(self, pool: str, incarnation: str) -> bool:
        """Does any replica still hear the agent?"""

    async def live_agents(self, pools: Sequence[str]) -> list[str]:
        """The incarnations that hold a lease there. One that began while the store was full may be missing."""

    async def create_session(self, wanted: SessionRecord, max_sessions: int, per_owner: int = 0) -> tuple[SessionRecord, bool]:
        """Create, or give back the one that exists; the flag says which. `per_owner`: see `quotas.may_own`. Owners
        without a name have no bound."""

    async def get_session(self, pool: str, session: str) -> SessionRecord:
        """The session as the store has it."""

    async def touch_sessions(self, pool: str, sessions: Mapping[str, str]) -> list[SessionRecord | None]:
        """Slide the TTLs of sessions, each by its id with its uid (empty: any); None for each that is not there any more."""

    async def delete_session(self, pool: str, session: str, uid: str = "") -> SessionRecord | None:
        """Delete with its state; None if there was none, or, with `uid`, not that one any more."""

    async def were_deleted(self, pool: str, sessions: Sequence[str]) -> list[bool]:
        """Of sessions that are gone: was each deleted in the last minute? True, too, where so many were that nobody knows."""

    async def list_sessions(self, pool: str, after: str, limit: int) -> list[SessionRecord | UnreadableRecord]:
        """Up to `limit` sessions in the order of their ids, those after `after`. None is left out: what can't be read says so."""

    async def count_sessions(self, pool: str) -> int:
        """How many sessions of the pool there are."""

    async def bind_session(self, known: SessionRecord, worker: str, incarnation: str, agent: str, why: str = "") -> SessionRecord:
        """Bind if the record still is as `known` has it; returns the record as it is then, whoever bound it.

        `why` is kept, of a session that was bound before: it moves.
        """

    async def unbind_session(self, known: SessionRecord) -> SessionRecord:
        """Let go of the bound worker, under the next epoch, if the record still is as `known` has it; returns it as it is then.

        It was asked for: as its reason, `rebind` is kept.
        """

    async def note_lost(self, known: SessionRecord) -> bool:
        """The worker that the session is bound to is gone for good. True: the first to say so of this binding. It slides no TTL."""

    async def take_ended(self, pool: str, limit: int) -> list[Ended]:
        """Bound sessions that have expired, each told once; the oldest are forgotten when nobody asks."""

    async def get_state(self, pool: str, session: str, key: str, fence: Fence | None) -> StoredValue | None:
        """The value of a key; None: there is none."""

    async def set_state(
        self, pool: str, session: str, key: str, value: common_pb2.Payload, expected: int | None, quotas: SessionSpec, fence: Fence | None
    ) -> Written:
        """Write; with `expected`, only over that version (0: only if absent). Versions of a key never return, deleted in between or not."""

    async def delete_state(self, pool: str, session: str, key: str, fence: Fence | None) -> bool:
        """Delete a key; False: there was none."""

    async def list_state(self, pool: str, session: str, fence: Fence | None) -> list[StoredKey]:
        """All keys in their order, without their values."""
