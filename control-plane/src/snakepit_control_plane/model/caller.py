"""Whom calls come from. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is what turns and quotas go by: the subject, or the connection of somebody who wasn't asked for one.

    `expires` in seconds since the epoch: its credentials say no more after that.
    """

    name: str
    subject: str = ""
    groups: tuple[str, ...] = ()
    expires: float = math.inf
