"""worker.exclusive: whose each worker is, from its first call until it is recycled. Pure; `now` is monotonic seconds.

A worker belongs to one session, or to one call that has none (or is nested in a call of a session, and did not find room at that
session's own worker).
"""

from __future__ import annotations

from dataclasses import dataclass

from snakepit_agent.model.call import HeldCall

DOUBT_SECONDS = 30.0
"""A session that has called nothing for so long may have ended without a word: its replica is asked."""


@dataclass(slots=True)
class Lease:
    """`over`: it will not come back. `replica`: through which it came last."""

    session_id: str = ""
    uid: str = ""
    epoch: int = 0
    replica: str = ""
    over: bool = False
    since: float = 0.0


class ExclusiveLeases:
    """Of one capsule of an exclusive pool."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def owns(self, incarnation: str) -> bool:
        """Does the worker belong to somebody?"""
        return incarnation in self._leases

    def admits(self, held: HeldCall) -> bool:
        """May the call go to the worker that its replica has chosen?"""
        owner = self._leases.get(held.incarnation)
        return owner is None or (bool(owner.uid) and owner.uid == held.session_uid)

    def take(self, held: HeldCall, now: float, *, within: bool) -> bool:
        """The call has been admitted; True: the worker is somebody's from now on. `within`: it belongs to the turn of its parent."""
        owner = self._leases.get(held.incarnation)
        if owner is None:
            alone = within or not held.session_uid
            owner = Lease(over=True) if alone else Lease(held.session_id, held.session_uid)
            self._leases[held.incarnation] = owner
            owner.replica, owner.since = held.replica, now
            owner.epoch = held.session_epoch
            return True
        owner.replica, owner.since, owner.epoch = held.replica, now, max(owner.epoch, held.session_epoch)
        return False

    def give_back(self, held: HeldCall) -> bool:
        """The call never started: if it was to be the worker's only one, the worker is as good as new, and nobody's (True)."""
        owner = self._leases.get(held.incarnation)
        if owner is None or owner.uid:
            return False
        del self._leases[held.incarnation]
        return True

    def leave(self, uid: str) -> list[str]:
        """The session has ended, or moved: workers that were its own."""
        found = [incarnation for incarnation, owner in self._leases.items() if owner.uid == uid] if uid else []
        for incarnation in found:
            self._leases[incarnation].over = True
        return found

    def is_over(self, incarnation: str) -> bool:
        """Nobody else may use the worker, and its owner is done with it, but for what still runs."""
        owner = self._leases.get(incarnation)
        return owner is not None and owner.over

    def forget(self, incarnation: str) -> None:
        """The worker is dead."""
        self._leases.pop(incarnation, None)

    def doubtful(self, now: float) -> list[Lease]:
        """Sessions to ask after: the word that one has ended may have been lost. Each again when as long has passed."""
        found = [owner for owner in self._leases.values() if owner.uid and not owner.over and now - owner.since >= DOUBT_SECONDS]
        for owner in found:
            owner.since = now
        return found
