"""The caller's side (extra `client`): call tools, keep sessions, look at pools.

A caller imports these names from `snakepit` itself; `snakepit.sync` has the same without `await`.
"""

import logging

import snakepit._wire  # noqa: F401  # before gRPC is loaded

# isort: split
from snakepit.client.client import AsCaller as AsCaller
from snakepit.client.client import Client as Client
from snakepit.client.offers import Offer as Offer
from snakepit.client.pool import Pool as Pool
from snakepit.client.session import Session as Session
from snakepit.client.session import State as State
from snakepit.client.snapshot import Snapshot as Snapshot
from snakepit.client.stream import Stream as Stream
from snakepit.client.typed import OMITTED as OMITTED
from snakepit.client.views import CallerInfo as CallerInfo
from snakepit.client.views import PoolInfo as PoolInfo
from snakepit.client.views import SessionInfo as SessionInfo
from snakepit.client.views import ToolInfo as ToolInfo
from snakepit.client.views import WorkerInfo as WorkerInfo

# A library says nothing on its own: whoever configures logging sees what links and dials say.
logging.getLogger("snakepit").addHandler(logging.NullHandler())
