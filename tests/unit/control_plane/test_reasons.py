"""Why a pool has no ready worker, in its workers' own words."""

from snakepit.v1 import pool_pb2
from snakepit_control_plane.model.pool import reason_of


def test_a_fault_is_told_before_another_worker_that_is_still_starting() -> None:
    starting = pool_pb2.Worker(state=pool_pb2.WORKER_STATE_STARTING, reason="Starting", message="setup() has been running for 1 s")
    broken = pool_pb2.Worker(state=pool_pb2.WORKER_STATE_BACKOFF, reason="SetupFailed", message="the model file is missing")
    assert reason_of([starting, broken]) == ("SetupFailed", "the model file is missing")
    assert reason_of([starting]) == ("Starting", "setup() has been running for 1 s")
