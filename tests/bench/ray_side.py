"""Ray's part of a comparison: so many actors, each a process of its own, and an asyncio caller of them: `ray_side.py ACTORS`.

Ray listens at all addresses of the machine, whatever it is told, and leaves processes behind when it is killed. So it runs in a network
with nothing but a loopback interface, and among processes that the kernel ends with it: `ALONE` goes before its command.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_DISABLE_IMPORT_WARNING": "1"}

import ray

from tests.bench.rounds import TEXT, answer

MIB = 1 << 20


@ray.remote
class Echo:
    def echo(self, text: str) -> str:
        return text


def main(actors: int) -> None:
    """Bounds: 100 MiB for objects, of which an echo needs none, and 1 GiB for actors."""
    bounds = {"num_cpus": actors, "object_store_memory": 100 * MIB, "_memory": 1024 * MIB}
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning", _temp_dir=os.environ["TMPDIR"], **bounds)
    pool = [Echo.remote() for _ in range(actors)]
    ray.get([actor.echo.remote(TEXT) for actor in pool])
    turns = itertools.cycle(pool)
    asyncio.run(answer(lambda: next(turns).echo.remote(TEXT)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
