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

if TYPE_CHECKING:
    from snakepit._ipc.frames import Attachment
    from snakepit.author.adapter import Adapter, AdapterError, tool
    from snakepit.author.context import AsyncContext, Context, Interrupted
    from snakepit.client import OMITTED as OMITTED
    from snakepit.client import Client as Client
    from snakepit.client import Offer as Offer
    from snakepit.client import Pool as Pool
    from snakepit.client import PoolInfo as PoolInfo
    from snakepit.client import Session as Session
    from snakepit.client import SessionInfo as SessionInfo
    from snakepit.client import Snapshot as Snapshot
    from snakepit.client import State as State
    from snakepit.client import Stream as Stream
    from snakepit.client import ToolInfo as ToolInfo
    from snakepit.client import WorkerInfo as WorkerInfo
    from snakepit.errors import (
        CallerLimit,
        CallTooDeep,
        Cancelled,
        DeadlineExceeded,
        Draining,
        InvalidArguments,
        PayloadTooLarge,
        PayloadWarning,
        PermissionDenied,
        PoolNotFound,
        PoolNotReady,
        PoolSaturated,
        ProtocolMismatch,
        QueueTimeout,
        ReplicaLost,
        ServerUnavailable,
        SessionNotFound,
        SessionQuota,
        SessionWorkerUnavailable,
        SnakepitError,
        StaleEpoch,
        Started,
        StateQuota,
        Status,
        StoreUnavailable,
        ToolError,
        ToolNotFound,
        ToolQuota,
        Unauthenticated,
        WorkerBusy,
        WorkerLost,
        WouldDeadlock,
    )

__version__ = "0.1.0"

_CALLERS = (
    "OMITTED",
    "Client",
    "Offer",
    "Pool",
    "PoolInfo",
    "Session",
    "SessionInfo",
    "Snapshot",
    "State",
    "Stream",
    "ToolInfo",
    "WorkerInfo",
)
_ELSEWHERE = {
    "Adapter": "author.adapter",
    "AdapterError": "author.adapter",
    "AsyncContext": "author.context",
    "Attachment": "_ipc.frames",
    "Context": "author.context",
    "Interrupted": "author.runtime",
    "tool": "author.adapter",
}
"""The other names are errors."""

__all__ = [
    "Adapter",
    "AdapterError",
    "AsyncContext",
    "Attachment",
    "CallTooDeep",
    "CallerLimit",
    "Cancelled",
    "Context",
    "DeadlineExceeded",
    "Draining",
    "Interrupted",
    "InvalidArguments",
    "PayloadTooLarge",
    "PayloadWarning",
    "PermissionDenied",
    "PoolNotFound",
    "PoolNotReady",
    "PoolSaturated",
    "ProtocolMismatch",
    "QueueTimeout",
    "ReplicaLost",
    "ServerUnavailable",
    "SessionNotFound",
    "SessionQuota",
    "SessionWorkerUnavailable",
    "SnakepitError",
    "StaleEpoch",
    "Started",
    "StateQuota",
    "Status",
    "StoreUnavailable",
    "ToolError",
    "ToolNotFound",
    "ToolQuota",
    "Unauthenticated",
    "WorkerBusy",
    "WorkerLost",
    "WouldDeadlock",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name == "sync":
        return _caller("snakepit.sync")
    if name in _CALLERS:
        value = getattr(_caller("snakepit.client"), name)
    elif name in __all__:
        value = getattr(importlib.import_module(f"snakepit.{_ELSEWHERE.get(name, 'errors')}"), name)
    else:
        raise AttributeError(f"module 'snakepit' has no attribute {name!r}")
    globals()[name] = value
    return value


def _caller(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("snakepit"):
            raise
        from snakepit import _extras

        raise ImportError(f"{error.name!r} is missing, which callers of pools need. {_extras.CLIENT}") from error


def __dir__() -> list[str]:
    return sorted([*__all__, *_CALLERS, "sync"])
