"""Settings of a control-plane replica, from the environment; all problems are named at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from snakepit._environment import Environment, address, address_or_off, positive_number, seconds, whole_number
from snakepit._wire.channels import MAX_PAYLOAD_BYTES
from snakepit_control_plane.authentication import LocalTokens
from snakepit_control_plane.authentication import settings as authentication
from snakepit_control_plane.model.quotas import Limits, variable
from snakepit_control_plane.servers.certificate import TlsFiles
from snakepit_control_plane.store.urls import parse_store_url


@dataclass(frozen=True)
class Settings(Limits):
    """The limits, and where and how a replica serves. Times in seconds."""

    listen: str = "0.0.0.0:7800"
    """gRPC; port 0 takes a free one (SNAKEPIT_LISTEN)."""
    metrics: str | None = "0.0.0.0:7801"
    """`/metrics`; `off`: none (SNAKEPIT_METRICS_LISTEN)."""
    health: str | None = None
    """gRPC's health service for the kubelet, whom no call keeps waiting there: services `""`, `ready`, `started`
    (SNAKEPIT_HEALTH_LISTEN, by default off). `off`: they are at SNAKEPIT_LISTEN alone. The chart says 7803."""
    lane: str = ""
    """Lanes and bulk lanes of links (SNAKEPIT_LANE_LISTEN, by default any free port). The chart says 7802."""
    lane_host: str = ""
    """Where peers find that port, if not at the address that they dialled for gRPC (SNAKEPIT_LANE_HOST): the pod's own, say."""
    store: str = "memory:"
    """Where sessions are: `memory:`, or a Redis URL (SNAKEPIT_STORE), see docs/operations.md#where-redis-is."""
    store_note: str = ""
    """A clause on what the store doesn't promise (SNAKEPIT_STORE_NOTE); pools' `SessionStoreReady` says it while all is well."""
    linger_seconds: float = 10.0
    """After TERM it takes new calls for so long (SNAKEPIT_LINGER_SECONDS), and always for all of it: who has no connection to it may still
    come, where a node or a balancer hasn't heard yet that it goes, and nobody tells it when all have. 0 where callers name a replica
    itself."""
    drain_seconds: float = 330.0
    """After that, running calls may finish for so long (SNAKEPIT_DRAIN_SECONDS)."""
    tls: TlsFiles | None = None
    """TLS of gRPC and of lanes: certificate, key, and the CA of clients that have a certificate of their own, as PEM
    (SNAKEPIT_TLS_CERT_FILE, SNAKEPIT_TLS_KEY_FILE, SNAKEPIT_TLS_CLIENT_CA_FILE). Without the first two there is none. Files are read
    again as they change; see docs/security.md#on-the-wire."""
    tls_clients: str = "0.0.0.0:7806"
    """gRPC port where each client must show a certificate; none without that CA (SNAKEPIT_TLS_CLIENT_LISTEN)."""
    authentication: authentication.Authentication | LocalTokens | None = None
    """Must agents, the operator and callers prove who they are: `required` or `off` (SNAKEPIT_AUTH, by default off)? The chart says
    `required`."""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Raises InvalidSettings."""
    read = Environment(environment)
    values = {
        "listen": read("SNAKEPIT_LISTEN", address, Settings.listen),
        "metrics": read("SNAKEPIT_METRICS_LISTEN", address_or_off, Settings.metrics),
        "health": read("SNAKEPIT_HEALTH_LISTEN", address_or_off, Settings.health),
        "lane": read("SNAKEPIT_LANE_LISTEN", address, Settings.lane),
        "lane_host": read("SNAKEPIT_LANE_HOST", str, Settings.lane_host),
        "store": read("SNAKEPIT_STORE", check_store, Settings.store),
        "store_note": read("SNAKEPIT_STORE_NOTE", str, Settings.store_note),
        **{limit.name: read(variable(limit.name), _PARSERS.get(limit.name, positive_number), limit.default) for limit in fields(Limits)},
        "linger_seconds": read("SNAKEPIT_LINGER_SECONDS", seconds, Settings.linger_seconds),
        "drain_seconds": read("SNAKEPIT_DRAIN_SECONDS", seconds, Settings.drain_seconds),
        "tls": _tls(read),
        "tls_clients": read("SNAKEPIT_TLS_CLIENT_LISTEN", address, Settings.tls_clients),
        "authentication": authentication.from_environment(environment, read.problems),
    }
    if read.problems == [] and values["authentication"] is None and environment.get("SNAKEPIT_TLS_CLIENT_CA_FILE"):
        read.problems.append("SNAKEPIT_TLS_CLIENT_CA_FILE needs SNAKEPIT_AUTH=required: without it nobody is asked who they are")
    read.check()
    return Settings(**values)  # type: ignore[arg-type]


def _tls(read: Environment) -> TlsFiles | None:
    names = ("SNAKEPIT_TLS_CERT_FILE", "SNAKEPIT_TLS_KEY_FILE", "SNAKEPIT_TLS_CLIENT_CA_FILE")
    certificate, key, client_ca = (read(name, Path, None) for name in names)
    if certificate is not None and key is not None:
        return TlsFiles(certificate, key, client_ca)
    if certificate or key or client_ca:
        read.problems.append("SNAKEPIT_TLS_CERT_FILE and SNAKEPIT_TLS_KEY_FILE: TLS needs both of them")
    return None


def check_store(url: str) -> str:
    """The URL itself. Raises InvalidStoreUrl, a ValueError, with a sentence."""
    parse_store_url(url)
    return url


def _message_bytes(text: str) -> int:
    value = positive_number(text)
    if value > MAX_PAYLOAD_BYTES:
        raise ValueError(f"use up to {MAX_PAYLOAD_BYTES}: what is larger travels in pieces, see SNAKEPIT_MAX_LARGE_PAYLOAD_BYTES")
    return value


_PARSERS = {"max_payload_bytes": _message_bytes, "max_call_records": whole_number}
