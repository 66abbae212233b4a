"""The order of the site, for hack/docs.py: each page of docs/ stands once in mkdocs.yml's `nav`, but for those that a list of docs/ has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
LISTED = "decisions/2*.md"
"""They stand in decisions/README.md."""


def entries(nav: Any) -> Iterator[str]:
    """The pages that a `nav` names, in their order."""
    if isinstance(nav, str):
        yield nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from entries(each)


def problems(named: Iterable[str], pages: Iterable[str]) -> Iterator[str]:
    """`pages`: those of docs/, from there on."""
    named, pages = list(named), list(pages)
    yield from (f"mkdocs.yml: docs/{page} stands twice in nav" for page in sorted({each for each in named if named.count(each) > 1}))
    missing = [each for each in pages if each not in named and not Path(each).match(LISTED)]
    yield from (f"mkdocs.yml: docs/{page} is not in nav: put it where a reader looks for it" for page in missing)


def check() -> list[str]:
    docs = ROOT / "docs"
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    return list(problems(entries(nav), sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))))
