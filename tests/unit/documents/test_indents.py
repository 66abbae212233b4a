"""Lists of the pages as the site's Markdown reads them: hack/indents.py."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def widened() -> Any:
    return runpy.run_path(str(ROOT / "hack/indents.py"))["widened"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* a\n  b\n\nc\n", "* a\n    b\n\nc\n"),
        ("* a\n  * b\n    * c\n* d\n", "* a\n    * b\n        * c\n* d\n"),
        ("1. a\n\n   ```sh\n   x\n     y\n   ```\n\n2. b\n", "1. a\n\n    ```sh\n    x\n      y\n    ```\n\n2. b\n"),
        ("* a\ngoes on\n\n  still a\n", "* a\ngoes on\n\n    still a\n"),
        ("text\n  indented\n\n    code\n", "text\n  indented\n\n    code\n"),
        ("```\n* no list\n  x\n```\n", "```\n* no list\n  x\n```\n"),
    ],
    ids=["goes on", "inner lists", "code in an item", "without an indent", "no list", "code"],
)
def test_what_belongs_to_an_item_stands_four_spaces_in(widened: Any, text: str, expected: str) -> None:
    assert widened(text) == expected
