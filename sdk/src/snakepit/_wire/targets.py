"""Where to dial: what an address names, and who is behind its names now."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import Any


def parse_target(target: str) -> tuple[str, int]:
    """`host:port`, `dns:///host:port` or `[v6]:port` as (host, port). Raises ValueError with a sentence."""
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535 or "/" in host:
        raise ValueError(f"server {target!r} is not an address: write host:port, e.g. localhost:7800")
    return host.strip("[]"), int(port)


def parse_targets(target: str) -> list[tuple[str, int]]:
    """Comma-separated addresses, for replicas that no one name stands for. Raises ValueError with a sentence."""
    return [parse_target(each.strip()) for each in target.split(",")]


async def resolve(target: str) -> dict[str, str]:
    """Every address behind the names, as `ip:port`, with its name. Empty when none of them can be looked up now."""
    wanted = parse_targets(target)
    found = await asyncio.gather(*(_look_up(host, port) for host, port in wanted))
    return {address: host for (host, _), addresses in zip(wanted, found, strict=True) for address in addresses}


async def _look_up(host: str, port: int) -> set[str]:
    try:
        found = await _asked(host, port)
    except (OSError, UnicodeError):
        return set()
    # A name like localhost has a v4 and a v6 address of the same listener: one family is enough.
    families = {family for family, *_ in found}
    chosen = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    return {f"{a[0]}:{port}" if family == socket.AF_INET else f"[{a[0]}]:{port}" for family, _, _, _, a in found if family == chosen}


async def _asked(host: str, port: int) -> list[Any]:
    """As the loop's getaddrinfo. But a program waits at its end for the loop's threads, for 20 s where name servers are silent."""
    found: Future[list[Any]] = Future()
    found.set_running_or_notify_cancel()

    def ask() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=ask, name=f"look up {host}", daemon=True).start()
    return await asyncio.wrap_future(found)
