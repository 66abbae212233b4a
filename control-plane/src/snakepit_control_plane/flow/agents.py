"""Where frames for agents go: the links that are open now."""

from __future__ import annotations

from collections.abc import Callable

from snakepit._wire import LinkClosed
from snakepit.v1 import link_pb2
from snakepit_control_plane.model.capsule import Capsule

Send = Callable[[link_pb2.Frame], None]


class AgentLinks:
    """`senders`: each linked capsule's, which raises LinkClosed when its link has just broken."""

    def __init__(self) -> None:
        self.senders: dict[Capsule, Send] = {}

    def tell(self, capsule: Capsule, frame: link_pb2.Frame) -> None:
        """Send a frame to an agent. A link that has just broken is not an error: its hello, or its silence, settles the calls."""
        sender = self.senders.get(capsule)
        if sender is not None:
            try:
                sender(frame)
            except LinkClosed:
                return
