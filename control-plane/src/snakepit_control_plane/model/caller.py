"""Whom calls come from. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is what turns and quotas go by: the subject, or the connection of somebody who wasn't asked for one.

    `expires` in seconds since the epoch: its credentials say no more after that. `bearer`: who brought them, and passes this one's
    identity on; None: it came by itself.
    """

    name: str
    subject: str = ""
    groups: tuple[str, ...] = ()
    expires: float = math.inf
    bearer: Caller | None = None

    @property
    def sender(self) -> str:
        """The subject that its token names."""
        return (self.bearer or self).subject


NOBODY = Caller("")
"""Nobody was asked who it is."""
