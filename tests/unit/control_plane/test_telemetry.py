"""What a replica counts has few names, whatever others say."""

from __future__ import annotations

from snakepit_control_plane.telemetry import Telemetry


def outcomes(telemetry: Telemetry) -> dict[str, float]:
    return {sample.labels["outcome"]: sample.value for family in telemetry.calls.collect() for sample in family.samples}


def test_an_outcome_that_a_worker_made_up_is_counted_as_other() -> None:
    telemetry = Telemetry()
    for outcome in ("OK", "TOOL_ERROR", "DEADLINE", *(f"made up {number}" for number in range(100))):
        telemetry.answered("default/p", "t", outcome, 0.01, 0.0, 0.005)
    assert outcomes(telemetry) == {"OK": 1, "TOOL_ERROR": 1, "DEADLINE": 1, "other": 100}
