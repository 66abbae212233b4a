"""What the good client noticed of each attack, and what is left of all of them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time

from hostile.sockets import Sockets
from hostile.world import World, metrics, run
from support.dev_server import wait_until

SECONDS = float(os.environ.get("SNAKEPIT_HOSTILE_SECONDS", "0"))
SCALE = float(os.environ.get("SNAKEPIT_HOSTILE_SCALE", "1"))
ATTACK_SECONDS = 60 + 30 * SCALE
TIMEOUT_SECONDS = ATTACK_SECONDS + SECONDS + 120

MOST_GROWTH = 200, 60
"""MiB, of control plane and agent, when all is over: results under keys, of which 30 MiB are kept, and arenas of the allocator."""

MOST_SERIES = 100
"""That the first refusal of each kind has brought; none has a name that a stranger made up."""

REST_SECONDS = 45.0
"""Whatever strangers began is over by then: idle bulk lanes after 20 s, unfinished messages after 30."""


def attacks_of(*rooms: type[Sockets]) -> list[str]:
    return [f"{room.__name__.lower()}.{name}" for room in rooms for name in vars(room) if not name.startswith("_")]


class Account:
    """What was at rest, and what was told of each attack."""

    def __init__(self, world: World) -> None:
        self.world = world
        time.sleep(3)
        self.rest = world.diary()
        self.before = world.figures()
        self.rows: list[str] = []

    def attacked(self, name: str) -> dict[str, dict[str, float]]:
        seed = os.environ.get("SNAKEPIT_HOSTILE_SEED") or str(random.SystemRandom().getrandbits(32))
        words = ("hostile.attack", name, json.dumps(self.world.target()), str(SCALE), seed)
        with run(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as attack:
            try:
                said, _ = attack.communicate(timeout=ATTACK_SECONDS)
            finally:
                attack.kill()
        assert attack.returncode == 0, f"SNAKEPIT_HOSTILE_SEED={seed}\n{said[-3000:]}"
        return self._note(name, said.strip().splitlines()[-1])

    def _note(self, name: str, cpu: str) -> dict[str, dict[str, float]]:
        read = self.world.diary()
        log = self.world.control.log
        assert read["failed"] == 0, f"{read['failed']} calls of the good client failed: {read['errors']}\n{log.read_text()[-3000:]}"
        assert read["calls"].get("link", 0) > 0, read
        p99 = {way: f"{read['p99'][way]:g}/{self.rest['p99'].get(way, 0):g}" for way in read["p99"]}
        rss = self.world.figures().rss
        self.rows.append(f"{name}: p99 in ms / at rest {p99}, calls {sum(read['calls'].values())}, rss {rss}, its own processor {cpu} s")
        return read

    def is_as_it_was(self) -> None:
        """Memory, descriptors, tasks, and how many series a scrape has."""
        before = self.before

        def settled() -> bool:
            now = self.world.figures()
            self.world.diary()
            few = all(now.descriptors[each] <= before.descriptors[each] + 12 for each in (0, 1)) and now.tasks <= before.tasks + 12
            return (few and now.series <= before.series + MOST_SERIES) or time.sleep(0.5) is not None

        try:
            wait_until(settled, f"what there was before: {before}", REST_SECONDS)
        finally:
            print(*self.rows, f"before: {before}", f"after: {self.world.figures()}", sep="\n", file=sys.stderr)
        now = self.world.figures()
        assert all(now.rss[each] - before.rss[each] < MOST_GROWTH[each] for each in (0, 1)), (before, now)
        assert "made-up" not in metrics(self.world.ports["metrics"])
        lines = self.world.control.lines
        assert len(lines) < 2000 * max(1, SCALE), lines[-20:]
