"""How many of a tool's exceptions are told: so many at once, then one in a while, and none is forgotten."""

import pytest

from snakepit_worker.raised import BURST, SECONDS, Budget, is_wanted


def test_a_burst_is_told_and_then_one_in_a_while_with_how_many_were_left_out() -> None:
    budget = Budget(0.0)
    assert [budget.take(0.0) for _ in range(BURST)] == [0] * BURST
    assert budget.is_spent
    assert [budget.take(0.1) for _ in range(7)] == [None] * 7
    assert budget.take(SECONDS) == 7
    assert budget.take(SECONDS + 0.1) is None
    assert budget.take(2 * SECONDS) == 1


def test_after_a_quiet_time_there_is_a_burst_again_and_no_more() -> None:
    budget = Budget(0.0)
    for _ in range(BURST + 1):
        budget.take(0.0)
    later = 1000 * SECONDS
    assert [budget.take(later) for _ in range(BURST + 1)] == [1, *[0] * (BURST - 1), None]


@pytest.mark.parametrize(("said", "wanted"), [(None, True), ("", True), ("on", True), ("off", False), ("OFF", False), ("false", False)])
def test_the_environment_switches_it_off(said: str | None, wanted: bool) -> None:
    assert is_wanted({} if said is None else {"SNAKEPIT_LOG_TOOL_ERRORS": said}) is wanted
