"""How much of an objective's error budget is left. Pure.

A pool that promises 99.9 % of its calls may have one bad call of a thousand: that is its budget.
"""

from __future__ import annotations

import math

LEAST = -100
"""A budget that is spent twice, or more often."""


def budget_left(target_percent: float, calls: int, bad_calls: int) -> int | None:
    """Percent of the budget that is left, rounded down; negative: it is overspent. None: so few calls allow not one bad call."""
    allowed = round(calls * (100 - target_percent) / 100, 6)
    if allowed < 1:
        return None
    return max(LEAST, math.floor(100 * (1 - bad_calls / allowed)))
