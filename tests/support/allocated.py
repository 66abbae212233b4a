"""What a process' allocator has given out, by glibc.

What an allocator keeps for later is no leak: it counts as resident, and is much larger than what a leak would be.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading

MIB = 1024 * 1024


class _Mallinfo(ctypes.Structure):
    """glibc's, of all its arenas together."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def in_use() -> float:
    """MiB of this process, once all that is free was given back."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Mallinfo
    gc.collect()
    libc.malloc_trim(0)
    found = libc.mallinfo2()
    return round((found.uordblks + found.hblkhd) / MIB, 1)


def tell() -> None:
    """Say it on stdout at each line of stdin, beside what the process does."""

    def answer() -> None:
        for _ in sys.stdin:
            print(in_use(), flush=True)

    threading.Thread(target=answer, daemon=True).start()
