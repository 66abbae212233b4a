"""Each page of docs/ has one place on the site: hack/nav.py."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.pages import blocks

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


def test_each_page_of_the_concepts_has_a_picture(nav: Any) -> None:
    """What they are drawn of, `make docs` knows: hack/pictures.py."""
    told = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    (concepts,) = [part["Concepts"] for part in told if "Concepts" in part]
    pages = list(nav["entries"](concepts))
    assert len(pages) > 4
    assert [page for page in pages if not blocks(f"docs/{page}", "mermaid")] == []


def test_every_page_has_its_place(nav: Any) -> None:
    assert nav["check"]() == []
