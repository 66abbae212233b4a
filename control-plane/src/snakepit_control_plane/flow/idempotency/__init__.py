"""Calls with an idempotency key: one of them runs, the others join it or are given its outcome, whichever replica they came through.

`calls` takes callers in and answers them, `store` speaks with the store, `upkeep` renews what this replica holds.
"""

from snakepit_control_plane.flow.idempotency.calls import Idempotency

__all__ = ["Idempotency"]
