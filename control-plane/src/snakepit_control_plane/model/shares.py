"""How many links and calls each subject and each address has open at this replica, and how often each opens links. Pure.

A subject is who brought the token: for calls that a gateway passes on, the gateway. Where nobody is asked, there are addresses alone.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from snakepit.errors import CallerLimit
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.quotas import Limits

BURST_SECONDS = 5.0
"""Who has opened no link for so long may open as many at once as in that time."""

MOST_REMEMBERED = 8192
"""Subjects and addresses whose pace is known; of one more, the one that was quiet longest is forgotten."""

SUBJECT, ADDRESS = "Subject", "Address"

RETRY_SECONDS = 1.0

Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Share:
    """What one of them has open."""

    key: Key
    most_links: int
    most_calls: int
    links: int = 0
    calls: int = 0


class Shares:
    """Who has nothing open is forgotten."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shares: dict[Key, Share] = {}
        self._pace: OrderedDict[Key, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shares)

    def hello(self, kind: str, name: str, now: float) -> None:
        """It opens a link. Raises CallerLimit where it has opened too many lately."""
        pace = self._limits.max_hellos_per_second
        most, key = pace * BURST_SECONDS, (kind, name)
        left, at = self._pace.pop(key, (most, now))
        left = min(most, left + (now - at) * pace)
        self._pace[key] = max(0.0, left - 1.0), now
        if len(self._pace) > MOST_REMEMBERED:
            self._pace.popitem(last=False)
        if left < 1.0:
            what = f"{_said(key)} opens links faster than maxHellosPerSecond, {pace}, allows"
            raise _refusal("maxHellosPerSecond", pace, f"{what}: keep links open, and wait longer after each that is refused")

    @contextlib.contextmanager
    def link(self, caller: Caller, address: str) -> Iterator[tuple[Share, ...]]:
        """A link, while it is open. Raises CallerLimit."""
        shares = self._of(caller, address)
        if (full := next((each for each in shares if each.links >= each.most_links), None)) is not None:
            name = f"maxLinksPer{full.key[0]}"
            what = f"{_said(full.key)} has {full.links} links open here, as many as {name} allows"
            raise _refusal(name, full.most_links, f"{what}: share one client among threads and tasks, and close those that aren't used")
        for each in shares:
            self._shares[each.key] = each
            each.links += 1
        try:
            yield shares
        finally:
            for each in shares:
                each.links -= 1
                self._forget(each)

    def call(self, caller: Caller, address: str) -> Counted:
        """A call that came by no link, while it is open: until the `with` ends that this is for. Raises CallerLimit."""
        shares = self._of(caller, address)
        if (refusal := full(shares)) is not None:
            raise refusal
        for each in shares:
            self._shares[each.key] = each
            each.calls += 1
        return Counted(self, shares)

    def ended(self, shares: tuple[Share, ...]) -> None:
        """One of the calls that they have open is over."""
        for each in shares:
            each.calls -= 1
            self._forget(each)

    def _of(self, caller: Caller, address: str) -> tuple[Share, ...]:
        mine, subject = self._share(ADDRESS, address), caller.sender
        return (self._share(SUBJECT, subject), mine) if subject else (mine,)

    def _share(self, kind: str, name: str) -> Share:
        if (found := self._shares.get((kind, name))) is not None:
            return found
        limits = self._limits
        if kind == SUBJECT:
            return Share((kind, name), limits.max_links_per_subject, limits.max_calls_per_subject)
        return Share((kind, name), limits.max_links_per_address, limits.max_calls_per_address)

    def _forget(self, share: Share) -> None:
        if not share.links and not share.calls:
            self._shares.pop(share.key, None)


class Counted:
    """A call that is counted in some shares. Each plain gRPC call has one: a generator's would take twice as long."""

    __slots__ = ("_all", "_its")

    def __init__(self, all_: Shares, its: tuple[Share, ...]) -> None:
        self._all, self._its = all_, its

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._all.ended(self._its)


def full(shares: tuple[Share, ...]) -> CallerLimit | None:
    """The refusal of one more call."""
    for each in shares:
        if each.calls >= each.most_calls:
            name = f"maxCallsPer{each.key[0]}"
            what = f"{_said(each.key)} has {each.calls} calls open here, as many as {name} allows"
            return _refusal(name, each.most_calls, f"{what}: wait for some to end")
    return None


def address_of(peer: str) -> str:
    """Of a connection, as gRPC names its other end: without the port."""
    return peer.rpartition(":")[0] or peer


def _said(key: Key) -> str:
    return key[1] if key[0] == SUBJECT else f"address {key[1]}"


def _refusal(limit: str, most: int, message: str) -> CallerLimit:
    return CallerLimit(message, retry_after=RETRY_SECONDS, details={"limit": limit, "calls" if "Calls" in limit else "links": str(most)})
