"""What each subject and each address may have open."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from snakepit.errors import CallerLimit
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.model.shares import ADDRESS, BURST_SECONDS, MOST_REMEMBERED, Shares, address_of, full

ADA, EVE = Caller("ada", "ada"), Caller("eve", "eve")
GATEWAY = Caller("bob", "bob", bearer=EVE)
FEW = Limits(max_links_per_subject=2, max_links_per_address=3, max_hellos_per_second=10, max_calls_per_subject=2, max_calls_per_address=3)


def test_a_subject_has_so_many_links_and_anothers_are_its_own() -> None:
    shares = Shares(FEW)
    with ExitStack() as links:
        for number in range(2):
            links.enter_context(shares.link(EVE, f"10.0.0.{number}"))
        with pytest.raises(CallerLimit, match=r"^eve has 2 links open here, as many as maxLinksPerSubject allows: ") as refused:
            links.enter_context(shares.link(EVE, "10.0.0.9"))
        assert refused.value.details == {"limit": "maxLinksPerSubject", "links": "2"}
        links.enter_context(shares.link(ADA, "10.0.0.0"))
    with shares.link(EVE, "10.0.0.1"):
        assert len(shares) == 2
    assert len(shares) == 0


def test_an_address_has_so_many_links_whoever_comes_from_there() -> None:
    shares = Shares(FEW)
    with ExitStack() as links:
        for subject in ("ada", "bob", "eve"):
            links.enter_context(shares.link(Caller(subject, subject), "10.0.0.1"))
        with pytest.raises(CallerLimit, match=r"^address 10\.0\.0\.1 has 3 links open here, as many as maxLinksPerAddress allows: "):
            links.enter_context(shares.link(Caller("ipv4:10.0.0.1:7"), "10.0.0.1"))
    assert len(shares) == 0


def test_calls_count_with_whom_brought_them_and_with_those_of_its_links() -> None:
    shares = Shares(FEW)
    with shares.link(EVE, "a") as link, shares.call(GATEWAY, "b"):
        assert full(link) is None
        link[0].calls += 1
        refusal = full(link)
        assert refusal is not None
        assert refusal.message == "eve has 2 calls open here, as many as maxCallsPerSubject allows: wait for some to end"
        assert refusal.details == {"limit": "maxCallsPerSubject", "calls": "2"}
        with pytest.raises(CallerLimit), shares.call(EVE, "c"):
            pass
        with shares.call(ADA, "a"):
            link[0].calls -= 1
    assert len(shares) == 0


def test_who_opens_links_too_fast_is_refused_until_it_has_waited() -> None:
    shares, burst = Shares(FEW), int(FEW.max_hellos_per_second * BURST_SECONDS)
    for _ in range(burst):
        shares.hello(ADDRESS, "a", 100.0)
    with pytest.raises(CallerLimit, match=r"^address a opens links faster than maxHellosPerSecond, 10, allows: ") as refused:
        shares.hello(ADDRESS, "a", 100.0)
    assert refused.value.details == {"limit": "maxHellosPerSecond", "links": "10"}
    shares.hello(ADDRESS, "b", 100.0)
    shares.hello(ADDRESS, "a", 100.2)
    for _ in range(burst):
        shares.hello(ADDRESS, "a", 200.0)


def test_however_many_addresses_there_are_so_many_are_remembered() -> None:
    shares = Shares(FEW)
    for number in range(MOST_REMEMBERED + 100):
        shares.hello(ADDRESS, str(number), 1.0)
    assert len(shares._pace) == MOST_REMEMBERED  # noqa: SLF001


@pytest.mark.parametrize(
    ("peer", "address"), [("ipv4:10.0.0.1:77", "ipv4:10.0.0.1"), ("ipv6:%5B::1%5D:77", "ipv6:%5B::1%5D"), ("unix:", "unix"), ("x", "x")]
)
def test_an_address_is_a_connections_other_end_without_its_port(peer: str, address: str) -> None:
    assert address_of(peer) == address
