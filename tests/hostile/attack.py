"""One attack, in a process of its own: `python -m hostile.attack NAME TARGET SCALE SEED`. It exits with 0 when all was as it should be."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import resource
import sys
import time

from hostile.undisturbed import MEASURED, last

NICE = 5
"""An attacker elsewhere would not take the victim's processors."""


def main(name: str, target: str, scale: str, seed: str) -> None:
    if MEASURED:
        last()
    else:
        os.nice(NICE)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    given = (json.loads(target), float(scale), random.Random(seed))
    began = time.process_time()
    room, _, attack = name.partition(".")
    rooms = importlib.import_module(f"hostile.{room}")
    done = getattr(getattr(rooms, room.title())(*given), attack)()
    if asyncio.iscoroutine(done):
        asyncio.run(done)
    print(f"{time.process_time() - began:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
