"""The coalescing link (extra `client`): one class for both ends of the stream, and what it takes to keep one open to every replica."""

from snakepit._wire import forks as forks  # before gRPC is loaded

# isort: split
from snakepit._wire.dial import Dialer
from snakepit._wire.link import Link, LinkClosed

__all__ = ["Dialer", "Link", "LinkClosed"]
