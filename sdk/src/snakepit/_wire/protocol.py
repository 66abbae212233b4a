"""Which protocol two ends of a link speak, and the sentence for those that have none in common. Pure.

A new kind of frame or field needs no new protocol: ends that don't know it pass it over. A number is added only where an older
end would misunderstand; it is dropped again when no release that needs it is supported any more.

So far there is one, 1.
"""

from __future__ import annotations

from typing import NamedTuple

from snakepit.errors import ProtocolMismatch

OLDEST = 1
NEWEST = 1

TLS_DETAIL = "tls"
"""Among the details of an error of whoever dials: the other end is there, and TLS is what is wrong between the two."""

TOKEN_DETAIL = "token"
"""Among the details of Unauthenticated: what is wrong with the token, as `missing`, `expired`, `early` or `audience`."""

NOW_DETAIL = "now"
"""Beside `expired` and `early`: the time by the clock of whoever refused, in Unix seconds."""

AUDIENCE_DETAIL = "audience"
"""Beside `audience`: for whom a token must be."""


class Range(NamedTuple):
    """Every protocol from `oldest` to `newest`."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return f"protocol {self.oldest}" if self.oldest == self.newest else f"protocols {self.oldest} to {self.newest}"


OURS = Range(OLDEST, NEWEST)


def said(protocol: int, newest_protocol: int) -> Range:
    """What a Hello says; 0 as the newest: it speaks `protocol` alone."""
    return Range(protocol, max(protocol, newest_protocol))


def agreed(theirs: Range, who: str, *, ours: Range = OURS, us: str = "this control plane") -> int:
    """The newest that both speak. Raises ProtocolMismatch, which says which of the two to upgrade."""
    newest = min(theirs.newest, ours.newest)
    if newest >= max(theirs.oldest, ours.oldest):
        return newest
    older = who if theirs.newest < ours.oldest else us
    raise ProtocolMismatch(f"{who} speaks {theirs}, {us} {ours}: upgrade {older}")
