"""A while of the storm of `make soak`."""

from __future__ import annotations

import os
import random

import pytest

from tests.soak.__main__ import run

SECONDS = float(os.environ.get("SOAK_TEST_SECONDS", "60"))


@pytest.mark.timeout(SECONDS + 240)
def test_after_a_storm_of_kills_hogs_hung_tools_recycles_and_restarts_every_call_is_accounted_for_and_nothing_is_left() -> None:
    assert run(SECONDS, random.randrange(2**32)) == []
