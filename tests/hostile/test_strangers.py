"""Strangers and garbage against the real programs, with a good client beside them: none of its calls fails, and nothing is left of them.

SNAKEPIT_HOSTILE_SECONDS: the attacks are repeated for so long, and the good client's p99 is asserted, too; SNAKEPIT_HOSTILE_SCALE: how
much of everything there is; SNAKEPIT_HOSTILE_SEED: which bytes. `make hostile` does all of that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from hostile.account import SECONDS, TIMEOUT_SECONDS, Account, attacks_of
from hostile.calls import Calls
from hostile.links import Links
from hostile.sockets import Sockets
from hostile.world import world

ATTACKS = attacks_of(Sockets, Calls, Links)

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with world() as made:
        yield Account(made)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_call_of_the_good_client_fails_for_it(account: Account, name: str) -> None:
    end = time.monotonic() + SECONDS / len(ATTACKS)
    read = account.attacked(name)
    while time.monotonic() < end:
        read = account.attacked(name)
    if SECONDS:
        assert read["p99"]["link"] <= max(2 * account.rest["p99"]["link"], 20.0), account.rows[-1]


def test_afterwards_everything_is_as_it_was(account: Account) -> None:
    account.is_as_it_was()
