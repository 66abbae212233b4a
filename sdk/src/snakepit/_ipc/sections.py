"""How a large payload is laid out where it travels without its frame: in a memfd, and in pieces on a bulk lane. Pure.

The frame holds a *skeleton*, the payload without its bytes, and the sizes of its *sections*: `data`, then each attachment. The bytes of
the sections follow one another, each at the next multiple of ALIGN (so that arrays can be used where they lie), zeros between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from snakepit._ipc.frames import Attachment, Payload

ALIGN = 64

LARGE_BYTES = 256 * 1024
"""A payload above this travels on a bulk lane, and between agent and worker as a memfd."""

_ZEROS = bytes(ALIGN)

Bytes = bytes | memoryview
Sections = Sequence[int]


def sizes(payload: Payload) -> tuple[int, ...]:
    """The sizes of a payload's sections."""
    return (len(payload.data), *[len(each.data) for each in payload.attachments])


def total(sections: Sections) -> int:
    """How many bytes the layout has, zeros included."""
    return sum(map(_aligned, sections[:-1])) + sections[-1]


def counted(sections: Sections) -> int:
    """What a limit on large payloads counts: the text, or what travels beside it, whichever is more."""
    return max(sections[0], sum(sections[1:]))


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def skeleton(payload: Payload) -> Payload:
    """Everything but the bytes."""
    return Payload(
        b"", payload.content_type, tuple(Attachment(a.content_type, b"", a.dtype, a.shape) for a in payload.attachments), payload.warnings
    )


def spread(payload: Payload) -> list[Bytes]:
    """The layout's parts in order: not copied, zeros included."""
    parts: list[Bytes] = []
    for content in (payload.data, *[each.data for each in payload.attachments]):
        if parts and (gap := -len(parts[-1]) % ALIGN):
            parts.append(_ZEROS[:gap])
        parts.append(content)
    return parts


def fill(skeleton: Payload, contents: Sequence[Any]) -> Payload:
    """The whole payload again, of its skeleton and its sections' bytes. Attachments may stay views; `data` becomes bytes."""
    pairs = zip(skeleton.attachments, contents[1:], strict=True)
    attachments = tuple(Attachment(a.content_type, content, a.dtype, a.shape) for a, content in pairs)
    return Payload(bytes(contents[0]), skeleton.content_type, attachments, skeleton.warnings)


def views(layout: memoryview, sections: Sections) -> list[memoryview]:
    """Each section where it lies."""
    found, at = [], 0
    for size in sections:
        found.append(layout[at : at + size])
        at += _aligned(size)
    return found


def cut(parts: Sequence[Bytes], size: int) -> Iterator[list[Bytes]]:
    """The parts in pieces of `size`, the last one smaller: each as a list of views."""
    piece: list[Bytes] = []
    room = size
    for part in parts:
        view = memoryview(part)
        while len(view):
            piece.append(view[:room])
            view = view[room:]
            room -= len(piece[-1])
            if not room:
                yield piece
                piece, room = [], size
    if piece:
        yield piece


class Assembler:
    """Sections out of pieces that were cut anywhere: each byte is copied once."""

    def __init__(self, sections: Sections) -> None:
        self._sections = list(sections)
        self._left = total(sections)
        self._whole = bytearray(self._left)
        self._at = 0

    @property
    def complete(self) -> bool:
        """Have all bytes come?"""
        return not self._left

    @property
    def left(self) -> int:
        """Bytes that have not come."""
        return self._left

    @property
    def room(self) -> memoryview:
        """Where the next bytes go, for whoever can read them there: `came` says how many it were."""
        return memoryview(self._whole)[self._at :]

    def came(self, size: int) -> None:
        """So many bytes were read into `room`."""
        self._at += size
        self._left -= size

    def contents(self) -> list[memoryview]:
        """Each section, read-only."""
        return views(memoryview(self._whole).toreadonly(), self._sections)
