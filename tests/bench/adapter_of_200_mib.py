"""An adapter that has loaded its model when it is imported: 150 MiB of buffers and 50 MiB of Python objects, all of them touched."""

from __future__ import annotations

from adapters import Small

BUFFERS = [bytes([number % 256]) * (1 << 20) for number in range(150)]
WORDS = {f"word number {number} of the model": (number, str(number)) for number in range(210_000)}


class Heavy(Small):
    """As the small one."""
