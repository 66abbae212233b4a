"""The caller's side (extra `client`): call tools, keep sessions, look at pools."""

from snakepit.client.client import Client
from snakepit.client.pool import Pool
from snakepit.client.session import Session, State
from snakepit.client.stream import Stream
from snakepit.client.views import PoolInfo, SessionInfo, ToolInfo, WorkerInfo

__all__ = ["Client", "Pool", "PoolInfo", "Session", "SessionInfo", "State", "Stream", "ToolInfo", "WorkerInfo"]
