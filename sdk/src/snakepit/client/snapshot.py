"""A session as a file: its metadata, its time to live and the bytes of its state. Pure; reading and writing them is `Session`'s.

What is not in it: the binding, the epoch and the versions. A session made of it is a new one.
"""

from __future__ import annotations

import msgspec

from snakepit.errors import InvalidArguments

FORMAT = "snakepit.dev/session/v1"


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One key's payload as its writer gave it; base64 in the file."""

    content_type: str
    data: bytes


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`pool` and `id` say where it comes from."""

    format: str
    pool: str
    id: str
    ttl_seconds: float
    metadata: dict[str, str]
    state: dict[str, Value]


def encode(snapshot: Snapshot) -> bytes:
    """JSON, with a line for each key."""
    return msgspec.json.format(msgspec.json.encode(snapshot), indent=1)


def decode(data: bytes) -> Snapshot:
    """Raises InvalidArguments."""
    try:
        header = msgspec.json.decode(data, type=_Header)
        if header.format != FORMAT:
            raise InvalidArguments(f"the session file has format {header.format!r}; this version reads {FORMAT!r}")
        return msgspec.json.decode(data, type=Snapshot)
    except msgspec.MsgspecError as error:
        raise InvalidArguments(f"this is no session file: {error}; make one with `snakepit session export`") from None


class _Header(msgspec.Struct):
    format: str
