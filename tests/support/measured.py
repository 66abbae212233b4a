"""The control plane's program, which says at each line of its input what it holds."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import gc
import json
import sys
import threading
from pathlib import Path

from snakepit_control_plane.main import main
from support.allocated import in_use
from support.attack import rss


def answer() -> None:
    for _ in sys.stdin:
        held = {
            "in_use": in_use(),
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
