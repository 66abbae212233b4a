"""Who calls, on its way from the control plane to the tool: written once for each caller, and read by nobody in between. Pure."""

from __future__ import annotations

from functools import lru_cache

import msgspec

Said = tuple[str, tuple[str, ...]]
"""A subject, and its groups."""

_decoder = msgspec.msgpack.Decoder(Said)


def written(subject: str, groups: tuple[str, ...]) -> bytes:
    """What stands for them in a call."""
    return msgspec.msgpack.encode((subject, groups))


@lru_cache(128)
def read(identity: bytes) -> Said:
    """What `written` was given; nobody, of a call without an identity. Few callers make many calls."""
    return _decoder.decode(identity) if identity else ("", ())
