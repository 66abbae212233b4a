"""How many requests run: in all, and of one address, unless that speaks for many."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

from snakepit.errors import CallerLimit
from snakepit_gateway.problems import GatewayFull
from snakepit_gateway.settings import Settings

RETRY_SECONDS = 1.0
_LONGEST = 64
"""No address has more characters; what a proxy says of its callers may be anything."""
_IPV6_OF_ONE = 64
"""Whoever has one address of version 6 has all that begin with so many bits of it."""


class Crowd:
    """Who comes in has a place until it leaves."""

    def __init__(self, settings: Settings) -> None:
        self._most, self._most_per_address = settings.max_requests, settings.max_requests_per_address
        proxies = tuple(ipaddress.ip_network(each) for each in settings.proxies)
        self._owner = functools.lru_cache(maxsize=4096)(functools.partial(_owner, proxies))
        self._running = 0
        self._of: dict[str, int] = {}

    @property
    def running(self) -> int:
        """Requests that have a place."""
        return self._running

    def enter(self, address: str) -> str:
        """Whose place it is: what `leave` is to be told. `address`: who asks; empty: that isn't known. Raises GatewayFull, CallerLimit."""
        if self._running >= self._most:
            said = f"{self._most} requests run at this gateway, which are as many as may: try again"
            raise GatewayFull(said, details={"limit": "SNAKEPIT_GATEWAY_MAX_REQUESTS"}, retry_after=RETRY_SECONDS)
        owner = self._owner(address) if len(address) <= _LONGEST else ""
        if owner:
            mine = self._of.get(owner, 0)
            if mine >= self._most_per_address:
                raise _crowding(owner, mine)
            self._of[owner] = mine + 1
        self._running += 1
        return owner

    def leave(self, owner: str) -> None:
        self._running -= 1
        if not owner:
            return
        left = self._of[owner] - 1
        if left:
            self._of[owner] = left
        else:
            del self._of[owner]


def _crowding(owner: str, mine: int) -> CallerLimit:
    said = (
        f"{mine} requests of {owner} run at this gateway, which are as many as those of one address may: wait for their answers. "
        "If it is a proxy, list it in SNAKEPIT_GATEWAY_PROXIES (the chart's gateway.proxies)"
    )
    return CallerLimit(said, details={"limit": "SNAKEPIT_GATEWAY_MAX_REQUESTS_PER_ADDRESS"}, retry_after=RETRY_SECONDS)


def _owner(proxies: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network], address: str) -> str:
    """Whose share it counts in; empty: nobody's, as it is a proxy of many, or no address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if any(ip in network for network in proxies):
        return ""
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, _IPV6_OF_ONE), strict=False))
