"""What each caller has had kept under idempotency keys, against a plain list of all of it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from snakepit_control_plane.model.kept import BESIDE_BYTES, PARTS, Kept

MOST = 1000 + BESIDE_BYTES


def test_a_caller_with_as_much_as_it_may_have_is_told_the_limit_and_others_are_not() -> None:
    kept = Kept(MOST)
    kept.add("ada", 999, 600, 0)
    assert kept.full("ada", 1) is None
    kept.add("ada", 1, 600, 1)
    refusal = kept.full("ada", 2)
    assert refusal is not None
    assert refusal.details == {"limit": "maxKeptBytesPerCaller", "bytes": str(MOST)}
    assert f"maxKeptBytesPerCaller allows {MOST}: leave the key out" in refusal.message
    assert kept.full("bob", 2) is None


@given(st.integers(0, 1 << 32))
def test_what_has_expired_counts_no_more_and_callers_without_any_are_forgotten(seed: int) -> None:
    chance, now = random.Random(seed), 0.0
    kept, all_of_it = Kept(MOST), []
    for _ in range(200):
        now += chance.choice([0.0, 0.1, 30.0])
        caller, size, seconds = chance.choice("abc"), chance.randrange(400), chance.choice([0, 1.0, 20.0, 600.0])
        kept.add(caller, size, seconds, now)
        if seconds:
            all_of_it.append((caller, size + BESIDE_BYTES, now + seconds, seconds / PARTS))
        for each in "abc":
            least = sum(size for of, size, until, _ in all_of_it if of == each and until > now)
            most = sum(size for of, size, until, slack in all_of_it if of == each and until + slack > now)
            assert least < MOST or kept.full(each, now) is not None
            assert most >= MOST or kept.full(each, now) is None
    kept.full("a", now + 1000)
    assert len(kept) == 0


def test_rows_are_as_many_as_parts_and_not_as_many_as_results() -> None:
    kept = Kept(1 << 60)
    for number in range(10_000):
        kept.add("ada", 1, 600, number * 0.5)
        kept.full("ada", number * 0.5)
    assert len(kept._slots) <= PARTS + 2  # noqa: SLF001
