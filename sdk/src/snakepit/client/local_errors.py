"""The sentences for failures that only the caller's side can see."""

from __future__ import annotations

import os
import re

from snakepit._wire.protocol import TLS_DETAIL
from snakepit.errors import (
    Draining,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolMismatch,
    ReplicaLost,
    ServerUnavailable,
    SnakepitError,
    Started,
    Unauthenticated,
)

_HTTP_1 = "http1.x server"
"""gRPC says so of whoever answers in HTTP/1."""

_SAYS_IT_ALL = (ProtocolMismatch, Unauthenticated, PermissionDenied)


_FORK = "start processes with multiprocessing's spawn or forkserver method, and open a Client in each"


def of_another_process(pid: int) -> SnakepitError:
    """The client was opened before the fork that made this process; `pid` is the parent's."""
    return SnakepitError(f"this Client was opened in process {pid} and does not survive a fork: {_FORK}", started=Started.NO)


def forked(pid: int) -> SnakepitError:
    """gRPC ran in the process `pid` when this one was forked from it, so that no link would ever open here."""
    return SnakepitError(
        f"gRPC was in use in process {pid} when this one was forked from it, and does not survive that: {_FORK}", started=Started.NO
    )


def of_another_loop() -> SnakepitError:
    """The client belongs to another event loop."""
    return SnakepitError(
        "this Client was opened in another event loop and works only there: open one in each loop, or use snakepit.sync.Client, "
        "which all threads may share",
        started=Started.NO,
    )


def no_server(target: str, last: SnakepitError | None, *, is_dialling: bool = False) -> SnakepitError:
    """Why no link could be opened; a refusal by a server that is there comes as it is. `is_dialling`: an address is known."""
    if last is not None and _says_it_all(last):
        return last
    without = "nothing has been heard from there" if is_dialling else "the name has no address"
    why = f" ({without if last is None else _cause(last.message)})"
    asked = "is `snakepit dev` running"
    if may_be_the_network(last):
        asked = "is this pod's namespace labelled snakepit.dev/caller=true (docs/security.md)"
    return ServerUnavailable(
        f"no control plane answers at {target}: {asked}, or is SNAKEPIT_SERVER wrong?{why}",
        details={"server": target},
        retry_after=1.0,
    )


def may_be_the_network(last: SnakepitError | None) -> bool:
    """Is this a pod, whose dials a NetworkPolicy may refuse? No server has said anything."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and not (last is not None and _says_it_all(last))


def _says_it_all(last: SnakepitError) -> bool:
    return isinstance(last, _SAYS_IT_ALL) or TLS_DETAIL in last.details


def _cause(message: str) -> str:
    """Of gRPC's tale of a dial that failed, what the system said, or what answers there."""
    if _HTTP_1 in message:
        return "an HTTP server answers there, a gateway say: calls have port 7800"
    _, dialled, cause = message.rpartition("Failed to connect to remote host: ")
    return re.sub(r"^connect: | \(\d+\)$", "", cause).lower() if dialled else message


def replica_lost(address: str, why: str, started: Started | None = None) -> ReplicaLost:
    """The replica that held the call went away; `started` None means that the tool may have run."""
    sentence = f"the control-plane replica at {address} went away during the call: {why}"
    return ReplicaLost(sentence, started=started, details={"server": address})


def never_taken(address: str) -> Draining:
    """The replica went away, and had said before which calls it would not start."""
    return Draining(f"the control-plane replica at {address} went away before it had started the call", details={"server": address})


def broken(address: str, why: str, *, never_started: bool) -> SnakepitError:
    """What became of a call whose connection has gone."""
    return never_taken(address) if never_started else replica_lost(address, why)


def too_large(size: int, limit: int, name: str) -> PayloadTooLarge:
    """The arguments have more bytes than the control plane takes; `name` is the setting of that limit."""
    return PayloadTooLarge(
        f"the arguments have {size} bytes, the control plane takes {limit} (setting {name})",
        details={"limit": name, "bytes": str(limit)},
    )
