"""`make audit` says no good news that it doesn't have."""

from __future__ import annotations

import re
from typing import Any

import audit
import pytest

GOOD: dict[str, Any] = {"name": "good", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
UNKNOWN: dict[str, Any] = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "problem", "code", "says"),
    [
        ([GOOD], "", 0, "1 packages, no known vulnerability."),
        ([GOOD, BAD, UNKNOWN], "", 1, "bad 2: CVE-1\nbad 2: CVE-2"),
        ([GOOD, UNKNOWN], "", 2, "nothing of 1 of 2 packages, unknown among them"),
        ([], "no route", 2, "nothing is known to be good: no route"),
    ],
)
def test_what_is_not_known_is_not_called_good(packages: list[dict[str, Any]], problem: str, code: int, says: str) -> None:
    ended, said = audit.verdict(packages, problem)
    assert ended == code
    assert says in said


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (audit.ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", audit.RELEASED)
def test_what_is_in_an_image_or_comes_with_a_wheel_is_what_the_tests_run_with(name: str) -> None:
    pinned, tested = pins(name), pins("dev")
    assert pinned
    other = {package: (version, tested[package]) for package, version in pinned.items() if tested.get(package, version) != version}
    assert not other, "pin both anew: uv pip compile -P PACKAGE==VERSION, as in `make requirements`"
