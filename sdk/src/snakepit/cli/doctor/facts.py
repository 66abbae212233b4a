"""What the doctor has seen, as plain values. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

REFUSED, SILENT = "refused", "silent"
"""Of a dial: nobody listens there; nobody says anything."""

HTTP, GRPC, TLS, CLOSED, QUIET, OTHER = "HTTP", "gRPC", "TLS", "closed", "quiet", "other"
"""What answers a request of HTTP/1.1: such an answer, a frame of HTTP/2, TLS' alert, an end, nothing, or anything else."""


class Address(msgspec.Struct, frozen=True):
    """One that a name stands for, as ip:port. `problem`: why no connection came about, REFUSED, SILENT or the system's words; empty: one
    did. `speaks`: what answers there; empty: nobody has asked."""

    host: str
    address: str
    problem: str = ""
    speaks: str = ""

    @property
    def is_open(self) -> bool:
        """Somebody listens there."""
        return not self.problem


class Way(msgspec.Struct, frozen=True):
    """From here to the control plane. `unknown`: hosts that no address was found for. `in_a_pod`: this program runs in a cluster."""

    target: str
    addresses: tuple[Address, ...] = ()
    unknown: tuple[str, ...] = ()
    in_a_pod: bool = False

    @property
    def is_open(self) -> bool:
        """Somebody listens at one of the addresses."""
        return any(each.is_open for each in self.addresses)


class Token(msgspec.Struct, frozen=True):
    """What the caller would show. `file` empty: there is none. `problem`: why it can't be read. `claims`: what it says, unchecked; empty:
    it is no JWT."""

    file: str = ""
    problem: str = ""
    claims: dict[str, Any] = {}

    def time(self, claim: str) -> float | None:
        """`exp`, `nbf` or `iat`, in Unix seconds; None: it doesn't say."""
        value = self.claims.get(claim)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
