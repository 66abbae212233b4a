"""Places in pages that people write, which hack/docs.py fills: from `<!-- NAME: make docs -->` to `<!-- end -->`."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PLACE = r"(?<=<!-- {}: make docs -->\n).*?(?=<!-- end -->)"


def in_place(name: str, place: str, text: str) -> str:
    """The page of docs/ with the text where it says so."""
    found, count = re.subn(PLACE.format(place), lambda _: text, (DOCS / name).read_text(), flags=re.DOTALL)
    assert count == 1, f"docs/{name} has no place for {place}"
    return found
