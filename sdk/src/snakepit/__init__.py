"""Write and call tools on warm pools of Python workers.

Every name is imported when first used: an author's module loads no more than it says, and what only callers need (`Client` and what it
returns) comes from the extra `client`.

The rooms, by who they are for: `author` for those who write tools, and `testing` for their tests; `client` and `sync` for those who call
them; `cli` is the command line; `spec` the pool file; `errors` for all. What begins with an underscore is private: `_wire` between
clients, agents and the control plane, `_ipc` inside a capsule, `_values`, `_telemetry`. `v1` is generated from proto/.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors read; `_HOMES` says the same to Python
    from snakepit._ipc.frames import Attachment as Attachment
    from snakepit.author.adapter import Adapter as Adapter
    from snakepit.author.adapter import AdapterError as AdapterError
    from snakepit.author.adapter import tool as tool
    from snakepit.author.context import AsyncContext as AsyncContext
    from snakepit.author.context import Caller as Caller
    from snakepit.author.context import Context as Context
    from snakepit.author.runtime import Interrupted as Interrupted
    from snakepit.client import *  # noqa: F403
    from snakepit.errors import *  # noqa: F403

__version__ = "0.1.0"

_HOMES = {
    "_ipc.frames": "Attachment",
    "author.adapter": "Adapter AdapterError tool",
    "author.context": "AsyncContext Caller Context",
    "author.runtime": "Interrupted",
    "errors": """
    CallTooDeep CallerLimit Cancelled DeadlineExceeded Draining InvalidArguments PayloadTooLarge PayloadWarning PermissionDenied
    PoolNotFound PoolNotReady PoolSaturated ProtocolMismatch QueueTimeout ReplicaLost ServerUnavailable SessionNotFound SessionQuota
    SessionWorkerUnavailable SnakepitError StaleEpoch Started StateQuota Status StoreUnavailable ToolError ToolNotFound ToolQuota
    Unauthenticated WorkerBusy WorkerLost WouldDeadlock
    """,
    "client": "AsCaller CallerInfo OMITTED Client Offer Pool PoolInfo Session SessionInfo Snapshot State Stream ToolInfo WorkerInfo",
}
"""The public names, by where they are."""

_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [name for name, home in _HOME.items() if home != "client"]
"""What `from snakepit import *` gives an author, with or without the extra `client`."""


def __getattr__(name: str) -> Any:
    if name == "sync":
        return _callers("sync")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'snakepit' has no attribute {name!r}")
    value = getattr(_callers(home) if home == "client" else importlib.import_module(f"snakepit.{home}"), name)
    globals()[name] = value
    return value


def _callers(module: str) -> Any:
    try:
        return importlib.import_module(f"snakepit.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("snakepit"):
            raise
        from snakepit import _extras

        raise ImportError(f"{error.name!r} is missing, which callers of pools need. {_extras.CLIENT}") from error


def __dir__() -> list[str]:
    return sorted([*_HOME, "sync"])
