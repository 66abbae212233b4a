"""What workers print, kept by the `snakepit dev` that runs them, and told over a socket to `snakepit logs`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

MOST_BYTES = 1 << 20
"""Kept of each pool; and of what a reader has not read, before it is hung up on."""

CLOSE_SECONDS = 1.0


class Logbook:
    """The last lines of each pool. Whoever connects is told the pools' names, all that is kept, an empty line, and then what comes.

    A line is its time (ISO 8601, in UTC), the pool, the capsule and the text, with tabs between.
    """

    def __init__(self, pools: Iterable[str], most_bytes: int = MOST_BYTES) -> None:
        self._kept: dict[str, deque[tuple[int, bytes]]] = {pool: deque() for pool in pools}
        self._sizes = dict.fromkeys(self._kept, 0)
        self._most = most_bytes
        self._count = 0
        self._readers: set[asyncio.StreamWriter] = set()

    async def serve(self, path: Path) -> None:
        """Listen there."""
        self._server = await asyncio.start_unix_server(self._tell, path)

    async def close(self) -> None:
        """Readers get what they have not read yet, and their end."""
        self._server.close()
        for reader in self._readers:
            reader.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*(each.wait_closed() for each in self._readers), return_exceptions=True)

    def add(self, pool: str, capsule: str, text: str) -> None:
        """Keep a line that was printed now."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = f"{moment}\t{pool}\t{capsule}\t{text}\n".encode(errors="replace")
        kept = self._kept[pool]
        self._count += 1
        kept.append((self._count, line))
        self._sizes[pool] += len(line)
        while self._sizes[pool] > self._most:
            self._sizes[pool] -= len(kept.popleft()[1])
        for reader in self._readers:
            if reader.transport.get_write_buffer_size() > self._most:
                reader.transport.abort()
            else:
                reader.write(line)

    async def _tell(self, told: asyncio.StreamReader, reader: asyncio.StreamWriter) -> None:
        lines = [line for _, line in sorted(each for kept in self._kept.values() for each in kept)]
        reader.write(b"".join([json.dumps(sorted(self._kept)).encode(), b"\n", *lines, b"\n"]))
        self._readers.add(reader)
        try:
            await told.read(1)  # It says nothing: this is its end.
        except ConnectionError:
            pass
        finally:
            self._readers.discard(reader)
            reader.close()
