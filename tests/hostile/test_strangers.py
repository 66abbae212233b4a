"""Strangers and garbage against the real programs, with a good client beside them: none of its calls fails, and nothing is left of them.

SNAKEPIT_HOSTILE_SECONDS: the attacks are repeated for so long, and the good client's p99 is asserted, too; SNAKEPIT_HOSTILE_SCALE: how
much of everything there is; SNAKEPIT_HOSTILE_SEED: which bytes. `make hostile` does all of that.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from hostile.calls import Calls
from hostile.links import Links
from hostile.sockets import Sockets
from hostile.world import World, metrics, run, world
from support.dev_server import wait_until

SECONDS = float(os.environ.get("SNAKEPIT_HOSTILE_SECONDS", "0"))
SCALE = float(os.environ.get("SNAKEPIT_HOSTILE_SCALE", "1"))
ATTACKS = [f"{room.__name__.lower()}.{name}" for room in (Sockets, Calls, Links) for name in vars(room) if not name.startswith("_")]
ATTACK_SECONDS = 60 + 30 * SCALE

MOST_GROWTH = 200, 60
"""MiB, of control plane and agent, when all is over: results under keys, of which 30 MiB are kept, and arenas of the allocator."""

MOST_SERIES = 100
"""That the first refusal of each kind has brought; none has a name that a stranger made up."""

REST_SECONDS = 45.0
"""Whatever strangers began is over by then: idle bulk lanes after 20 s, unfinished messages after 30."""

pytestmark = pytest.mark.timeout(ATTACK_SECONDS + SECONDS + 120)


class Account:
    """What was at rest, and what was told of each attack."""

    def __init__(self, world: World) -> None:
        self.world = world
        time.sleep(3)
        self.rest = world.diary()
        self.before = world.figures()
        self.rows: list[str] = []

    def note(self, name: str, cpu: str) -> dict[str, dict[str, float]]:
        read = self.world.diary()
        assert read["failed"] == 0, (
            f"{read['failed']} calls of the good client failed: {read['errors']}\n{self.world.control.log.read_text()[-3000:]}"
        )
        assert read["calls"].get("link", 0) > 0, read
        p99 = {way: f"{read['p99'][way]:g}/{self.rest['p99'].get(way, 0):g}" for way in read["p99"]}
        rss = self.world.figures().rss
        self.rows.append(f"{name}: p99 in ms / at rest {p99}, calls {sum(read['calls'].values())}, rss {rss}, its own processor {cpu} s")
        return read


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with world() as made:
        yield Account(made)


def attacked(account: Account, name: str) -> dict[str, dict[str, float]]:
    seed = os.environ.get("SNAKEPIT_HOSTILE_SEED") or str(random.SystemRandom().getrandbits(32))
    words = ("hostile.attack", name, json.dumps(account.world.target()), str(SCALE), seed)
    with run(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as attack:
        try:
            said, _ = attack.communicate(timeout=ATTACK_SECONDS)
        finally:
            attack.kill()
    assert attack.returncode == 0, f"SNAKEPIT_HOSTILE_SEED={seed}\n{said[-3000:]}"
    return account.note(name, said.strip().splitlines()[-1])


@pytest.mark.parametrize("name", ATTACKS)
def test_no_call_of_the_good_client_fails_for_it(account: Account, name: str) -> None:
    end = time.monotonic() + SECONDS / len(ATTACKS)
    read = attacked(account, name)
    while time.monotonic() < end:
        read = attacked(account, name)
    if SECONDS:
        assert read["p99"]["link"] <= max(2 * account.rest["p99"]["link"], 20.0), account.rows[-1]


def test_afterwards_everything_is_as_it_was(account: Account) -> None:
    """Memory, descriptors, tasks, and how many series a scrape has."""
    before = account.before

    def is_as_it_was() -> bool:
        now = account.world.figures()
        account.world.diary()
        few = all(now.descriptors[each] <= before.descriptors[each] + 12 for each in (0, 1)) and now.tasks <= before.tasks + 12
        return (few and now.series <= before.series + MOST_SERIES) or time.sleep(0.5) is not None

    try:
        wait_until(is_as_it_was, f"what there was before: {before}", REST_SECONDS)
    finally:
        print(*account.rows, f"before: {before}", f"after: {account.world.figures()}", sep="\n", file=sys.stderr)
    now = account.world.figures()
    assert all(now.rss[each] - before.rss[each] < MOST_GROWTH[each] for each in (0, 1)), (before, now)
    assert "made-up" not in metrics(account.world.ports["metrics"])
    lines = account.world.control.lines
    assert len(lines) < 2000 * max(1, SCALE), lines[-20:]
