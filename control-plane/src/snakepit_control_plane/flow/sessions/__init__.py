"""The sessions' stage: whose turn it is (`turns`), on which worker (`binding`), and what is still true (`upkeep`)."""

from snakepit_control_plane.flow.sessions.turns import Sessions
from snakepit_control_plane.model.session import SessionEntry

__all__ = ["SessionEntry", "Sessions"]
