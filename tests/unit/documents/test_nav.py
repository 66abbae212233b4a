"""Each page of docs/ has one place on the site: hack/nav.py."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def nav() -> Any:
    return runpy.run_path(str(ROOT / "hack/nav.py"))


def test_pages_are_found_in_their_order_however_deep(nav: Any) -> None:
    told = [{"Start": ["a", {"B": "b"}]}, {"How-to": [{"Run": [{"C": "c"}]}]}]
    assert list(nav["entries"](told)) == ["a", "b", "c"]


def test_a_page_without_a_place_or_with_two_is_named(nav: Any) -> None:
    twice, nowhere = nav["problems"](["a", "b", "b"], ["a", "b", "c", "decisions/2026-11-29-why.md"])
    assert twice == "mkdocs.yml: docs/b stands twice in nav"
    assert nowhere.startswith("mkdocs.yml: docs/c is not in nav")


def test_every_page_has_its_place(nav: Any) -> None:
    assert nav["check"]() == []
