"""Who somebody is, an agent, the operator or a caller: tokens, and the keys that they are signed with.

What a caller may do is not asked here, but in `authorization`.
"""

from __future__ import annotations

from functools import partial

from snakepit_control_plane.authentication.gate import Gate
from snakepit_control_plane.authentication.local import LocalGate, LocalTokens
from snakepit_control_plane.authentication.settings import Authentication

__all__ = ["Authentication", "Gate", "LocalTokens", "make_gate"]


def make_gate(wanted: Authentication | LocalTokens | None) -> Gate:
    """None: everybody may say anything."""
    if wanted is None:
        return Gate()
    if isinstance(wanted, LocalTokens):
        return LocalGate(wanted)
    # The cryptography is 10 MiB: only those who use it pay for that.
    from snakepit_control_plane.authentication.guarded import Guarded
    from snakepit_control_plane.authentication.keys import Keys, discover, fetch

    others = tuple((issuer, Keys(partial(discover, issuer))) for issuer in wanted.issuers)
    return Guarded(wanted, Keys(partial(fetch, wanted)), others)
