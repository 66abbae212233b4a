"""The sentences for failures that only the caller's side can see. Pure."""

from __future__ import annotations

from snakepit.errors import (
    PayloadTooLarge,
    PermissionDenied,
    ProtocolMismatch,
    ReplicaLost,
    ServerUnavailable,
    SnakepitError,
    Unauthenticated,
)

_SAYS_IT_ALL = (ProtocolMismatch, Unauthenticated, PermissionDenied)


def no_server(target: str, last: SnakepitError | None) -> SnakepitError:
    """Why no link could be opened; a refusal by a server that is there comes as it is."""
    if isinstance(last, _SAYS_IT_ALL):
        return last
    why = f" ({last.message})" if last is not None else " (the name has no address)"
    return ServerUnavailable(
        f"no control plane answers at {target}: is `snakepit dev` running, or is SNAKEPIT_SERVER wrong?{why}",
        details={"server": target},
        retry_after=1.0,
    )


def replica_lost(address: str, why: str) -> ReplicaLost:
    return ReplicaLost(f"the control-plane replica at {address} went away during the call: {why}", details={"server": address})


def too_large(size: int, limit: int, name: str) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the arguments have {size} bytes, the control plane takes {limit} (setting {name})",
        details={"limit": name, "bytes": str(limit)},
    )
