"""A scene in a network of its own: two control-plane replicas, a whole capsule and a client; then the packets of one replica are dropped.

Played by `unshare --net python -m support.cut_off`; prints what was found as one line of JSON. A killed replica resets its connections;
one whose packets are lost says nothing at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import snakepit
from snakepit.errors import SnakepitError, Started
from snakepit.spec import encode_spec
from snakepit_agent.settings import Settings
from support.capsules import LocalCapsule, spec
from support.control_plane import replica
from support.eventually import eventually

CUT, WHOLE = "127.0.0.2", "127.0.0.3"
POOL = "default/sample"
CALLERS = 4
PATIENCE_SECONDS = 60.0


@dataclass
class Found:
    """Times are seconds after the cut."""

    before: int = 0
    noticed: list[float] = field(default_factory=list)
    """The client and the agent, each."""
    failed: list[tuple[float, float, str, str]] = field(default_factory=list)
    """Of each failed call: when it began, when it ended, reason, started."""
    late: int = 0
    """Calls that began after both had noticed."""
    late_failed: int = 0
    given_up: list[float] = field(default_factory=list)
    """By the agent."""
    linked_again: bool = False


class Listener(logging.Handler):
    """Says what is logged."""

    def __init__(self, heard: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self.emit = heard  # type: ignore[method-assign]


def packets(action: str) -> None:
    """`-I`: drop all that goes to or comes from the replica; `-D`: no more."""
    for side in ("-d", "-s"):
        subprocess.run(["iptables", "-w", action, "INPUT", side, CUT, "-j", "DROP"], check=True)


@contextlib.asynccontextmanager
async def capsule(target: str) -> AsyncIterator[LocalCapsule]:
    pool_spec = spec("support.sample:Sample", worker={"processes": 2})
    with tempfile.TemporaryDirectory(prefix="capsule-") as folder:
        settings = Settings(
            server=target,
            spec=pool_spec,
            spec_json=encode_spec(pool_spec),
            run_dir=Path(folder),
            capsule="sample-0",
            pool=POOL,
            health_port=0,
        )
        local = LocalCapsule(settings)
        try:
            await local.start_keeper()
            yield local
        finally:
            await local.end()


async def play(found: Found) -> None:
    target = f"{CUT}:7800,{WHOLE}:7800"
    async with (
        replica(listen=f"{CUT}:7800", lane=f"{CUT}:7802"),
        replica(listen=f"{WHOLE}:7800", lane=f"{WHOLE}:7802") as whole,
        capsule(target),
        snakepit.Client(target) as client,
    ):
        pool = client.pool(POOL)
        cut_at = 0.0

        def heard(record: logging.LogRecord) -> None:
            sentence, after = record.getMessage(), time.monotonic() - cut_at
            if "does not answer: new calls go elsewhere" in sentence:
                found.noticed.append(after)
            if record.name == "snakepit_agent.link.uplink" and CUT in sentence and "closed: it does not answer" in sentence:
                found.given_up.append(after)

        logging.getLogger().addHandler(Listener(heard))
        await eventually(lambda: client.links == 2, "the client is linked to both", PATIENCE_SECONDS)
        await eventually(
            lambda: whole.flow.pools.get(POOL) and any(c.linked for c in whole.flow.pools[POOL].capsules.values()),
            "an agent",
            PATIENCE_SECONDS,
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(SnakepitError):
                    await pool.call("echo", {"value": 1}, timeout=5)
                    found.before += 1
                    if found.before >= 50:
                        break
        over = asyncio.Event()

        async def caller() -> None:
            while not over.is_set():
                began, late = time.monotonic(), len(found.noticed) == 2
                found.late += late
                try:
                    await pool.call("echo", {"value": 1}, timeout=50)
                except SnakepitError as error:
                    found.late_failed += late
                    found.failed.append((began - cut_at, time.monotonic() - cut_at, error.reason, Started(error.started).name))
                await asyncio.sleep(0.01)

        cut_at = time.monotonic()
        packets("-I")
        callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
        await eventually(lambda: len(found.failed) >= 1 and found.late >= 200, "held calls are told, others go on", PATIENCE_SECONDS)
        await eventually(lambda: found.given_up, "the agent gives the replica up", PATIENCE_SECONDS)
        over.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*callers)
        packets("-D")
        await eventually(lambda: client.links == 2, "the client links anew", PATIENCE_SECONDS)
        found.linked_again = True


if __name__ == "__main__":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    result = Found()
    asyncio.run(play(result))
    print(json.dumps(result.__dict__))
