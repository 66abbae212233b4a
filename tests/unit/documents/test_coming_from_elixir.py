"""What docs/coming-from-elixir.md says that an option is here, is a field of a pool."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/coming-from-elixir.md"
FIELDS = set(re.findall(r"^\* \*\*`([^`]+)`", (ROOT / "docs/pool-reference.md").read_text(), re.MULTILINE))


def named() -> set[str]:
    """Whatever is written as a field, in the table of options or elsewhere."""
    roots = "|".join(sorted({found[0] for field in FIELDS if (found := re.match(r"\w+", field))}))
    return set(re.findall(rf"`((?:{roots})(?:\.\w+)+|affinity|replicas)[`:]", PAGE.read_text()))


def test_what_an_option_is_here_is_a_field_of_a_pool() -> None:
    assert len(named()) > 20
    assert named() <= {field.replace("[]", "") for field in FIELDS}
