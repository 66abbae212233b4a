"""What tells an operator that a replica holds the settings that it was sent: the same at both ends. Pure."""

from __future__ import annotations

from snakepit._values.digests import of_parts
from snakepit.v1 import link_pb2


def settings_digest(settings: link_pb2.PoolSettings) -> bytes:
    """16 bytes, of everything that the settings say."""
    return of_parts(part.encode() for part in (settings.pool, settings.uid, str(settings.generation), settings.spec))
