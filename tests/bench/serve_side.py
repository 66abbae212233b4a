"""Ray Serve's part of a comparison over HTTP: a proxy, and so many replicas of an echo: `serve_side.py REPLICAS`.

It runs alone, as `ray_side` does, so its load comes from within: the same generator, which takes over this program's input and output.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_DISABLE_IMPORT_WARNING": "1"}

import ray
from ray import serve

from tests.bench.ray_side import MIB

if TYPE_CHECKING:
    from starlette.requests import Request

PORT = 8000


@serve.deployment(max_ongoing_requests=64, ray_actor_options={"num_cpus": 0.1})
class Echo:
    async def __call__(self, request: Request) -> str:
        return str((await request.json())["text"])


def main(replicas: int, *load: str) -> None:
    """Bounds as `ray_side` has them."""
    bounds = {"num_cpus": replicas + 1, "object_store_memory": 100 * MIB, "_memory": 1024 * MIB}
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning", _temp_dir=os.environ["TMPDIR"], **bounds)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT, "access_log": False}, logging_config={"enable_access_log": False})
    serve.run(Echo.options(num_replicas=replicas).bind(), route_prefix="/echo")
    subprocess.run([sys.executable, "-m", "tests.bench.http_load", f"http://127.0.0.1:{PORT}/echo", *load], check=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
