"""The power and the cables of the nodes of hack/cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from support.kube import ROOT, kubectl

WAYS = {"killed": ("kill-node", "start-node"), "cut off": ("cut-node", "join-node")}


@contextmanager
def dead(node: str, how: str) -> Iterator[float]:
    """Yields when it was dead."""
    number, (die, rise) = node.rpartition("-")[2], WAYS[how]
    _cluster(die, number)
    try:
        yield time.time()
    finally:
        _cluster(rise, number)
        kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=120s")


def _cluster(*argv: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "hack/cluster"), *argv], check=True, env=dict(os.environ), timeout=120)
