"""Settings of a gateway, from the environment; all problems are named at once. Where the control plane is, the SDK reads itself."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from snakepit._environment import Environment, address_or_off, on_or_off, positive_number, whole_number
from snakepit._wire.targets import parse_target

OPEN = "fd://"


@dataclass(frozen=True)
class Settings:
    """Times in seconds."""

    listen: str = "127.0.0.1:7880"
    """Where HTTP is served (SNAKEPIT_GATEWAY_LISTEN); port 0 takes a free one; `fd://3` is a socket that is open already."""
    metrics: str | None = None
    """`/metrics` (SNAKEPIT_GATEWAY_METRICS_LISTEN, by default off), on a port of its own: HTTP may be public. The chart says 7801."""
    tls_cert_file: str | None = None
    """Its certificate, PEM (SNAKEPIT_GATEWAY_TLS_CERT_FILE); without one it is plain HTTP."""
    tls_key_file: str | None = None
    """The key to it (SNAKEPIT_GATEWAY_TLS_KEY_FILE)."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call from a browser, with commas between: `https://app.example.com` (SNAKEPIT_GATEWAY_CORS_ORIGINS)."""
    max_requests: int = 10_000
    """Requests that run at a time (SNAKEPIT_GATEWAY_MAX_REQUESTS)."""
    max_requests_per_address: int = 5_000
    """Those of one address (SNAKEPIT_GATEWAY_MAX_REQUESTS_PER_ADDRESS), see docs/gateway.md#how-many-requests-run."""
    proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks whose addresses speak for many, with commas between: they have no share of their own, and are believed what they say of
    callers, X-Forwarded-For and X-Forwarded-Proto (SNAKEPIT_GATEWAY_PROXIES)."""
    max_body_bytes: int = 65 << 20
    """The largest body of a request (SNAKEPIT_GATEWAY_MAX_BODY_BYTES)."""
    max_held_bytes: int = 256 << 20
    """Bodies over 256 KiB of all requests together; the next one waits for room. Smaller ones have as much again, and the next one is
    refused (SNAKEPIT_GATEWAY_MAX_HELD_BYTES)."""
    linger_seconds: int = 0
    """After TERM it serves on for so long, and says that it isn't ready (SNAKEPIT_GATEWAY_LINGER_SECONDS). The chart says 10."""
    drain_seconds: int = 30
    """Then running requests may finish for so long (SNAKEPIT_GATEWAY_DRAIN_SECONDS)."""
    console: bool = True
    """`off`: no console at `/` (SNAKEPIT_GATEWAY_CONSOLE)."""
    mcp: bool = True
    """`off`: nothing at `/mcp` (SNAKEPIT_GATEWAY_MCP)."""
    dev: bool = False
    """`on`: the console says how logs are read under `snakepit dev`, which sets it, instead of on a cluster (SNAKEPIT_GATEWAY_DEV)."""
    authorization_servers: tuple[str, ...] = ()
    """Issuers whose tokens callers have, as URLs with commas between (SNAKEPIT_GATEWAY_AUTHORIZATION_SERVERS): MCP clients that get a
    token by themselves ask there, see docs/mcp.md#who-asks."""

    @property
    def file_descriptor(self) -> int | None:
        """Of the socket that is open already; host and port are its own then."""
        return int(self.listen.removeprefix(OPEN)) if self.listen.startswith(OPEN) else None

    @property
    def host(self) -> str:
        if (number := self.file_descriptor) is None:
            return parse_target(self.listen)[0]
        with socket.socket(fileno=os.dup(number)) as open_already:
            return str(open_already.getsockname()[0])

    @property
    def port(self) -> int:
        return 0 if self.listen.startswith(OPEN) else int(parse_target(self.listen)[1])


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Raises InvalidSettings."""
    read = Environment(environment)
    settings = Settings(
        listen=read("SNAKEPIT_GATEWAY_LISTEN", _address, Settings.listen),
        metrics=read("SNAKEPIT_GATEWAY_METRICS_LISTEN", address_or_off, Settings.metrics),
        tls_cert_file=read("SNAKEPIT_GATEWAY_TLS_CERT_FILE", str, None),
        tls_key_file=read("SNAKEPIT_GATEWAY_TLS_KEY_FILE", str, None),
        cors_origins=read("SNAKEPIT_GATEWAY_CORS_ORIGINS", _origins, Settings.cors_origins),
        max_requests=read("SNAKEPIT_GATEWAY_MAX_REQUESTS", positive_number, Settings.max_requests),
        max_requests_per_address=read("SNAKEPIT_GATEWAY_MAX_REQUESTS_PER_ADDRESS", positive_number, Settings.max_requests_per_address),
        proxies=read("SNAKEPIT_GATEWAY_PROXIES", _networks, Settings.proxies),
        max_body_bytes=read("SNAKEPIT_GATEWAY_MAX_BODY_BYTES", positive_number, Settings.max_body_bytes),
        linger_seconds=read("SNAKEPIT_GATEWAY_LINGER_SECONDS", whole_number, Settings.linger_seconds),
        max_held_bytes=read("SNAKEPIT_GATEWAY_MAX_HELD_BYTES", positive_number, Settings.max_held_bytes),
        drain_seconds=read("SNAKEPIT_GATEWAY_DRAIN_SECONDS", whole_number, Settings.drain_seconds),
        console=read("SNAKEPIT_GATEWAY_CONSOLE", on_or_off, Settings.console),
        mcp=read("SNAKEPIT_GATEWAY_MCP", on_or_off, Settings.mcp),
        dev=read("SNAKEPIT_GATEWAY_DEV", on_or_off, Settings.dev),
        authorization_servers=read("SNAKEPIT_GATEWAY_AUTHORIZATION_SERVERS", _issuers, Settings.authorization_servers),
    )
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        read.problems.append("SNAKEPIT_GATEWAY_TLS_CERT_FILE and SNAKEPIT_GATEWAY_TLS_KEY_FILE: TLS needs both of them")
    read.check()
    return settings


def _address(text: str) -> str:
    if text.startswith(OPEN):
        if not text.removeprefix(OPEN).isdecimal():
            raise ValueError(f"{text!r}: write the number of an open file, as in fd://3")
    else:
        parse_target(text)
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(each.strip() for each in text.split(","))
    for each in origins:
        scheme, _, host = each.partition("://")
        if scheme not in ("http", "https") or not host or "/" in host:
            raise ValueError(f"{each!r} is not an origin: write scheme and host, as in https://app.example.com")
    return origins


def _networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(each.strip())) for each in text.split(","))
    except ValueError as error:
        raise ValueError(f"{error}: write networks with commas between, as in 10.0.0.0/8,fd00::/8, or single addresses") from None


def _issuers(text: str) -> tuple[str, ...]:
    issuers = tuple(each.strip() for each in text.split(","))
    for each in issuers:
        if not each.startswith("https://"):
            raise ValueError(f"{each!r} is not an issuer's URL: write it as its tokens do, as in https://login.example.com/realm")
    return issuers
