"""The lines that a program writes, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

LINE_BYTES = 1 << 19
"""A line without an end is cut here."""


async def lines_of(output: asyncio.StreamReader) -> AsyncGenerator[str]:
    """Each without its end, until there is nothing more to read."""
    rest = b""
    while data := await output.read(1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
