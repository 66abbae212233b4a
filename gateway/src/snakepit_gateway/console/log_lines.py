"""What a worker, its capsule or a call has said last, for who may read it."""

from __future__ import annotations

from snakepit.client.views import LogLines
from snakepit.errors import SnakepitError
from snakepit_gateway.console.desk import Context
from snakepit_gateway.console.viewer import READ_LOGS, Viewer

SHOWN_LINES = 60


async def gather(viewer: Viewer, top: Context, of: str, call_id: str = "", every: float = 1.0) -> Context:
    """What `ui.log` shows: of a worker, of a capsule, or of a call on it; `log` None: its reader may not see it. `every`: seconds."""
    if READ_LOGS not in top["rights"]:
        return {"log": None}
    if not of:
        return {"log": LogLines()}
    try:
        return {"log": await viewer.log_lines(top["pool_name"], of, call_id, SHOWN_LINES, every)}
    except SnakepitError as error:
        found = LogLines()
        found.problem = error.message
        return {"log": found}
