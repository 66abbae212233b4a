"""The coalescing link (extra `client`): one class for both ends of the stream, and what it takes to keep one open to every replica."""

from snakepit.link.dial import Dialer
from snakepit.link.link import PROTOCOL, Link, LinkClosed

__all__ = ["PROTOCOL", "Dialer", "Link", "LinkClosed"]
