"""What the good client noticed of each attack, and what is left of all of them."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time

from hostile.sockets import Sockets
from hostile.world import LINKS, POOL, World, run
from support.dev_server import wait_until
from support.metrics import is_known

SECONDS = float(os.environ.get("SNAKEPIT_HOSTILE_SECONDS", "0"))
SCALE = float(os.environ.get("SNAKEPIT_HOSTILE_SCALE", "1"))
ATTACKS = 53
"""So many there are in both files: each has its share of SECONDS."""

MEASURED_REST_SECONDS = 12.0
MOST_RATIO = 2.0

ATTACK_SECONDS = 60 + 30 * SCALE
TIMEOUT_SECONDS = ATTACK_SECONDS + SECONDS + 120

MOST_IN_USE = 4.0
"""MiB, that the control plane's allocator has given out."""

MOST_GROWTH = 120, 15
"""MiB, of control plane and agent: what is free and can't be given back, as something in use lies beyond it."""

MOST_SERIES = 100
"""That the first refusal of each kind has brought; none has a name that a stranger made up."""

MOST_KEYS = 100
"""In the store, of tens of thousands that strangers ask for; the good client's own come and go."""

LEAST_FROZEN = 20_000
"""Objects that no collection of garbage looks at: modules, classes, messages' descriptors."""

MOST_SWITCH = 0.001
"""Seconds that the loop waits for a thread that works, a scrape's say."""

REST_SECONDS = 45.0
"""Whatever strangers began is over by then: idle bulk lanes after 20 s, unfinished messages after 30."""


def attacks_of(*rooms: type[Sockets]) -> list[str]:
    return [f"{room.__name__.lower()}.{name}" for room in rooms for name in vars(room) if not name.startswith("_")]


TOOLS = {"", "echo", "sleep", "count"}


def made_up(series: str) -> bool:
    """Has it a name of a stranger's?"""
    said = dict(re.findall(r'(\w+)="([^"]*)"', series))
    known = said.get("pool", "") in ("", POOL) and said.get("tool", "") in TOOLS
    return not known or not is_known(series.partition("{")[0], said)


def part(seconds: list[float], share: float = 0.99) -> float:
    """In milliseconds."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1000 if seconds else 0.0


class Account:
    """What was at rest, and what was told of each attack."""

    def __init__(self, world: World) -> None:
        self.world = world
        time.sleep(3)
        self.rest = self._diary()
        if SECONDS:
            self.rest = self._rest()
        self._diary("rest")
        # How many lanes an idle link keeps for a while depends on whether two of its calls met.
        wait_until(lambda: world.lanes() == LINKS, f"only {LINKS} lanes are open", REST_SECONDS)
        self.before = world.figures()
        self._diary()
        self.rows: list[str] = []
        self.links: dict[str, list[float]] = {}

    def attacked(self, name: str) -> None:
        """Once; where it is measured, for the attack's share of the time."""
        end = time.monotonic() + SECONDS / ATTACKS
        self._attack(name)
        while time.monotonic() < end:
            self._attack(name)

    def _attack(self, name: str) -> None:
        seed = os.environ.get("SNAKEPIT_HOSTILE_SEED") or str(random.SystemRandom().getrandbits(32))
        words = ("hostile.attack", name, json.dumps(self.world.target()), str(SCALE), seed)
        with run(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as attack:
            try:
                said, _ = attack.communicate(timeout=ATTACK_SECONDS)
            finally:
                attack.kill()
        assert attack.returncode == 0, f"SNAKEPIT_HOSTILE_SEED={seed}\n{said[-3000:]}"
        seconds, cpu = self._diary(), said.strip().splitlines()[-1]
        end = time.monotonic() + REST_SECONDS
        while not seconds.get("link"):  # An attack may be over before one call of the link's has ended.
            assert time.monotonic() < end, f"the good client's link has had no answer for {REST_SECONDS:g} s"
            time.sleep(0.1)
            seconds = self._diary()
        self.links.setdefault(name, []).extend(seconds["link"])
        p99 = {way: f"{part(each):.1f}/{part(self.rest.get(way, [])):.1f}" for way, each in seconds.items()}
        calls = sum(map(len, seconds.values()))
        self.rows.append(f"{name}: p99 in ms / at rest {p99}, calls {calls}, rss {self.world.resident}, its own processor {cpu} s")

    def _diary(self, word: str = "") -> dict[str, list[float]]:
        """What each call of the good client took since it was read last; none has failed."""
        read = self.world.diary(word)
        log = self.world.control.log
        assert read["failed"] == 0, f"{read['failed']} calls of the good client failed: {read['errors']}\n{log.read_text()[-3000:]}"
        found: dict[str, list[float]] = read["seconds"]
        return found

    def _rest(self) -> dict[str, list[float]]:
        self._diary()
        time.sleep(MEASURED_REST_SECONDS)
        return self._diary()

    def _ratios(self) -> dict[str, float]:
        """The good client's p99 on its link under each attack, as a multiple of its p99 before all of them and after."""
        rest = part(self.rest["link"] + self._rest()["link"])
        ratios = {name: part(each) / rest for name, each in self.links.items()}
        print(f"at rest: p99 {rest:.1f} ms", file=sys.stderr)
        for name, ratio in sorted(ratios.items(), key=lambda each: -each[1]):
            each = self.links[name]
            print(f"{ratio:5.2f}  p99 {part(each):6.1f} ms, p50 {part(each, 0.5):5.1f} ms, {len(each)} calls  {name}", file=sys.stderr)
        return ratios

    def is_as_it_was(self) -> None:
        """Memory, descriptors, tasks, and which series a scrape has; where it is measured, the p99 of the good client meanwhile."""
        before = self.before
        ratios = self._ratios() if SECONDS else {}

        def given_back() -> bool:
            return self.world.figures().in_use < before.in_use + MOST_IN_USE or time.sleep(0.5) is not None

        def at_rest() -> bool:
            now = self.world.figures()
            few = all(now.descriptors[each] <= before.descriptors[each] for each in (0, 1)) and now.tasks <= before.tasks
            few = few and now.keys < before.keys + MOST_KEYS
            return few or time.sleep(0.5) is not None

        try:
            wait_until(given_back, f"memory as before: {before}", REST_SECONDS)  # The good client's keyed calls have old results forgotten.
            self._diary("rest")
            wait_until(at_rest, f"descriptors, tasks and keys of the store as before: {before}", REST_SECONDS)
        finally:
            now = self.world.figures()
            print(*self.rows, f"before: {before}", f"after: {now}", sep="\n", file=sys.stderr)
            self._diary()
        assert not (found := list(filter(made_up, now.series))), found
        assert len(now.series - before.series) < MOST_SERIES, sorted(now.series - before.series)
        assert now.trimmed - before.trimmed < MOST_GROWTH[0], (before, now)
        assert now.rss[1] - before.rss[1] < MOST_GROWTH[1], (before, now)
        assert now.switch < MOST_SWITCH, "the loop would wait for each thread"
        assert now.frozen > LEAST_FROZEN, "a full collection of garbage would take tens of milliseconds"
        lines = self.world.control.lines
        assert len(lines) < 2000 * max(1, SCALE), lines[-20:]
        assert max(ratios.values(), default=0.0) <= MOST_RATIO, f"more than {MOST_RATIO:g} times: see above"
