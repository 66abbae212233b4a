"""Strangers and garbage against the real programs, with a good client beside them: none of its calls fails, and nothing is left of them.

SNAKEPIT_HOSTILE_SECONDS: the attacks are repeated for so long, with only the processor that nobody else wants, and the good client's p99
is compared with its p99 at rest: `make hostile`. SNAKEPIT_HOSTILE_SCALE: how much of everything there is; SNAKEPIT_HOSTILE_SEED: which
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hostile.account import TIMEOUT_SECONDS, Account, attacks_of
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
    account.attacked(name)


def test_afterwards_everything_is_as_it_was(account: Account) -> None:
    account.is_as_it_was()
