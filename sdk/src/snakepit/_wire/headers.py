"""Headers of RPCs at a server of ours: who sends more than gRPC takes from others is refused before all of them are objects here.

gRPC (1.85) enforces its bound, 16 KiB, from the moment on in which a client has acknowledged it, and some never do. They may send 16 MiB,
of headers of one byte each: 200 KB from anybody, without a token, kept everybody waiting for 150 ms. grpcio makes each of them by a name
of its module, and lets nobody ask before; so a bounded maker takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it is compiled, and has no stubs

HEADER_BYTES = 64
"""Each counts as so many more than its value has: gRPC says 32, and its name is some."""

MOST_BYTES = 96 * 1024
"""Of one RPC, which may look at them twice: gRPC's 16 KiB are 31 KiB at most, as they are counted here."""

LOOK_BYTES = 32 * 1024
"""Of RPCs that come one after another; then it is looked whose the next ones are, which takes as long as to make them."""

_MAKER = "_Metadatum"

Maker = Callable[[Any, Any], Any]


class TooManyHeaders(Exception):
    """Of an RPC, which ends with that."""


def bound_headers() -> None:
    """From now on, in this process, as far as grpcio has that name. Idempotent."""
    made = getattr(cygrpc, _MAKER, None)
    if isinstance(made, type):
        setattr(cygrpc, _MAKER, bounded(made))
        logging.getLogger(cygrpc.__name__).addFilter(_is_not_ours)


def bounded(kind: type[Any]) -> Maker:
    """A maker of that named tuple. Raises TooManyHeaders in a task that has made too many in a row."""
    new, row, unlooked = tuple.__new__, _Row(), 0

    def metadatum(key: Any, value: Any) -> Any:
        nonlocal unlooked
        unlooked += HEADER_BYTES + len(value)
        if unlooked > LOOK_BYTES and row.is_over(HEADER_BYTES + len(value)):
            unlooked = 0
        return new(kind, (key, value))

    return metadatum


class _Row:
    """Headers that one task makes without another's between them."""

    def __init__(self) -> None:
        self._of: Callable[[], object] | None = None
        self._size = 0

    def is_over(self, size: int) -> bool:
        """Is the next one, of so many bytes, another task's? Raises TooManyHeaders."""
        task = _task()
        if task is None or (self._of is not None and self._of() is not task):
            self._of = None
            return True
        if self._of is None:
            self._of, self._size = weakref.ref(task), 0
        self._size += size
        if self._size > MOST_BYTES:
            raise TooManyHeaders(f"the headers are more than {MOST_BYTES // 1024} KiB, or {MOST_BYTES // HEADER_BYTES}")
        return False


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # A thread's, which asks others and serves nobody.
        return None


def _is_not_ours(record: logging.LogRecord) -> bool:
    """grpcio logs thirty lines for each."""
    return not (record.exc_info and isinstance(record.exc_info[1], TooManyHeaders))
