"""Sessions at the router: whose turn it is (`turns`), on which worker (`ways`, `binding`), and what is still true (`upkeep`)."""

from snakepit_control_plane.sessions.entry import SessionEntry
from snakepit_control_plane.sessions.turns import Sessions

__all__ = ["SessionEntry", "Sessions"]
