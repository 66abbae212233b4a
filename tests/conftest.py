"""Of all tests: random ones are random in CI too, each run has seeds of its own, and where everything is required nothing is skipped.

SNAKEPIT_REQUIRE_ALL=1: a test that would be skipped fails, so that whatever it needs is missed where it should be.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support import seeds, signals

# Random tests are judged by what they find, never by how long an example took: other tests run beside them. Hypothesis would always take
# the same examples where it sees that it is in CI.
settings.register_profile("untimed", deadline=None, derandomize=False, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

seeds.choose()
signals.hear()
signals.end_in_order()

# What a test writes, and writes anew a moment later, is never to be found compiled. The tests themselves are, from one run to the next.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def pytest_collection_finish() -> None:
    sys.dont_write_bytecode = True
    gc.freeze()  # Who collects garbage needn't look through all tests and their modules each time.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where `--dist loadfile` is asked for; others are left to xdist."""
    from support.sharing import Sharing

    return Sharing(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_report_header() -> str:
    return seeds.said()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SNAKEPIT_REQUIRE_ALL") == "1":
        path, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{Path(path).name}:{line}: {reason}\nNothing may be skipped here: SNAKEPIT_REQUIRE_ALL=1."
