"""Places in pages that people write, which hack/docs.py fills: from `<!-- NAME: make docs -->` to `<!-- end -->`."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PLACE = r"(<!-- {}: make docs -->\n).*?(<!-- end -->)"


def in_place(name: str, place: str, text: str) -> str:
    """The page of docs/ with the text where it says so."""
    return filled((DOCS / name).read_text(), place, text, of=f"docs/{name}")


def filled(page: str, place: str, text: str, of: str = "the page") -> str:
    """A page's text with another at that place."""
    found, count = re.subn(PLACE.format(place), lambda at: at[1] + text + at[2], page, flags=re.DOTALL)
    assert count == 1, f"{of} has no place for {place}"
    return found
