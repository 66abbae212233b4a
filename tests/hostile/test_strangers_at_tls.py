"""The same where all ports speak TLS, with client certificates at one of them: what isn't TLS there, and what abuses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hostile.account import TIMEOUT_SECONDS, Account, attacks_of
from hostile.handshakes import Handshakes
from hostile.world import world
from support.authority import Authority

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with world(Authority(tmp_path_factory.mktemp("servers"))) as made:
        yield Account(made)


@pytest.mark.parametrize("name", attacks_of(Handshakes))
def test_no_call_of_the_good_client_fails_for_it(account: Account, name: str) -> None:
    account.attacked(name)


def test_afterwards_everything_is_as_it_was(account: Account) -> None:
    account.is_as_it_was()
