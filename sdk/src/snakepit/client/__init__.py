"""The caller's side (extra `client`): call tools, keep sessions, look at pools.

A caller imports these names from `snakepit` itself; `snakepit.sync` has the same without `await`.
"""

import logging

import snakepit._wire  # noqa: F401  # before gRPC is loaded

# isort: split
from snakepit.client.client import Client
from snakepit.client.offers import Offer
from snakepit.client.pool import Pool
from snakepit.client.session import Session, State
from snakepit.client.snapshot import Snapshot
from snakepit.client.stream import Stream
from snakepit.client.typed import OMITTED
from snakepit.client.views import PoolInfo, SessionInfo, ToolInfo, WorkerInfo

__all__ = [
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
]

# A library says nothing on its own: whoever configures logging sees what links and dials say.
logging.getLogger("snakepit").addHandler(logging.NullHandler())
