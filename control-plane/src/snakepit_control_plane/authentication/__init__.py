"""Who may say that it is a capsule's agent, or the operator: tokens, the keys that they are signed with, and what each of them allows.

Calls, and whoever makes them, are not asked for anything here.
"""

from __future__ import annotations

from functools import partial

from snakepit_control_plane.authentication.gate import Gate
from snakepit_control_plane.authentication.settings import Authentication

__all__ = ["Authentication", "Gate", "make_gate"]


def make_gate(wanted: Authentication | None) -> Gate:
    """None: everybody may say anything."""
    if wanted is None:
        return Gate()
    # The cryptography is 10 MiB: only those who use it pay for that.
    from snakepit_control_plane.authentication.guarded import Guarded
    from snakepit_control_plane.authentication.keys import Keys, fetch

    return Guarded(wanted, Keys(partial(fetch, wanted)))
