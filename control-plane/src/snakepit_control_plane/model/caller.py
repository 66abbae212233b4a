"""Whom calls come from. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from snakepit._ipc.callers import written


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is what turns and quotas go by: the subject, or the connection of somebody who wasn't asked for one.

    `expires` in seconds since the epoch: its credentials say no more after that. `bearer`: who passes this one's calls on; None: it came
    by itself. `has_token`: they come with a token of its own, so that `bearer` needs no right to say whose they are.
    """

    name: str
    subject: str = ""
    groups: tuple[str, ...] = ()
    expires: float = math.inf
    bearer: Caller | None = None
    has_token: bool = False
    identity: bytes = field(default=b"", init=False, repr=False, compare=False)
    """What goes with its calls, for their tools: written once, and not for each call."""

    def __post_init__(self) -> None:
        if self.subject:
            object.__setattr__(self, "identity", written(self.subject, self.groups))

    @property
    def sender(self) -> str:
        """The subject whose connection it is."""
        return (self.bearer or self).subject


NOBODY = Caller("")
"""Nobody was asked who it is."""
