"""How many requests run, and whose they are."""

from __future__ import annotations

import pytest

from snakepit.errors import CallerLimit
from snakepit_gateway.crowd import Crowd
from snakepit_gateway.problems import GatewayFull
from snakepit_gateway.settings import Settings, from_environment

PROXIES = ("10.0.0.0/8", "fd00::/8")


def crowd(**settings: int) -> Crowd:
    return Crowd(Settings(proxies=PROXIES, **settings))


def test_no_more_run_than_may_and_who_leaves_makes_room() -> None:
    full = crowd(max_requests=2)
    places = [full.enter("192.0.2.1"), full.enter("192.0.2.2")]
    with pytest.raises(GatewayFull, match="2 requests run at this gateway") as refused:
        full.enter("192.0.2.3")
    assert (refused.value.details["limit"], refused.value.retry_after) == ("SNAKEPIT_GATEWAY_MAX_REQUESTS", 1.0)
    full.leave(places[0])
    full.enter("192.0.2.3")
    assert full.running == 2


def test_one_address_leaves_room_for_others() -> None:
    shared = crowd(max_requests=10, max_requests_per_address=2)
    places = [shared.enter("192.0.2.1") for _ in range(2)]
    with pytest.raises(CallerLimit, match=r"2 requests of 192\.0\.2\.1 run .* SNAKEPIT_GATEWAY_PROXIES") as refused:
        shared.enter("192.0.2.1")
    assert refused.value.details["limit"] == "SNAKEPIT_GATEWAY_MAX_REQUESTS_PER_ADDRESS"
    assert shared.enter("192.0.2.2") == "192.0.2.2"
    shared.leave(places[0])
    shared.enter("192.0.2.1")


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::7", "", "unix:", "x" * 30_000])
def test_who_speaks_for_many_or_has_no_address_has_no_share(address: str) -> None:
    many = crowd(max_requests=100, max_requests_per_address=1)
    assert [many.enter(address) for _ in range(5)] == [""] * 5
    assert many.running == 5
    for _ in range(5):
        many.leave("")
    assert many.running == 0


def test_an_address_of_version_6_is_all_that_its_owner_has() -> None:
    known = crowd(max_requests_per_address=2)
    assert known.enter("2001:db8:0:1::1") == known.enter("2001:db8:0:1:ffff::2%eth0") == "2001:db8:0:1::/64"
    with pytest.raises(CallerLimit):
        known.enter("2001:db8:0:1::3")
    assert known.enter("2001:db8:0:2::1") == "2001:db8:0:2::/64"
    assert known.enter("::ffff:192.0.2.1") == "192.0.2.1", "it has come by version 4"


def test_networks_are_read_as_people_write_them() -> None:
    assert from_environment({"SNAKEPIT_GATEWAY_PROXIES": "10.0.0.0/8, 192.0.2.1,fd00::/8"}).proxies == (
        "10.0.0.0/8",
        "192.0.2.1/32",
        "fd00::/8",
    )
    with pytest.raises(ValueError, match=r"SNAKEPIT_GATEWAY_PROXIES: .*has host bits set: write networks with commas between, as in 10"):
        from_environment({"SNAKEPIT_GATEWAY_PROXIES": "10.0.0.1/8"})
