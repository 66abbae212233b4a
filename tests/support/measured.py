"""The control plane's program, which says at each line of its input what it holds once all that is free was given back.

What an allocator keeps for later is no leak, and much larger than what a leak would be.
"""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import ctypes
import gc
import json
import sys
import threading
from pathlib import Path

from snakepit_control_plane.main import main
from support.attack import MIB, rss


class _Mallinfo(ctypes.Structure):
    """glibc's, of all its arenas together."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def answer() -> None:
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Mallinfo
    for _ in sys.stdin:
        gc.collect()
        libc.malloc_trim(0)
        found = libc.mallinfo2()
        held = {
            "in_use": round((found.uordblks + found.hblkhd) / MIB, 1),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "garbage": sum(each["collected"] for each in gc.get_stats()),
            "blocks": sys.getallocatedblocks(),
            "frozen": gc.get_freeze_count(),
            "switch": sys.getswitchinterval(),
            "rss": rss("self"),
        }
        print(json.dumps(held), flush=True)


threading.Thread(target=answer, daemon=True).start()
main()
