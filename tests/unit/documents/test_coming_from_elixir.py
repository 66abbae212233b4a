"""docs/coming-from-elixir.md has each name of the original once, and none that the original hasn't; and an option's field is a pool's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/coming-from-elixir.md").read_text()
ORIGINAL = Path(__file__).with_name("elixir-0.13.0.txt")
FIELDS = set(re.findall(r"^\* \*\*`([^`]+)`", (ROOT / "docs/pool-reference.md").read_text(), re.MULTILINE))

TABLES = {
    "functions": "`Snakepit`",
    "modules": "module",
    "tasks": "task",
    "options": "option",
    "variables": "environment variable",
    "events": "events under `[:snakepit, …]`",
}
"""What the first column of each is called."""


def original(kind: str) -> set[str]:
    section = ORIGINAL.read_text().partition(f"[{kind}]\n")[2].partition("\n[")[0]
    return set(section.split("\n")) - {""}


def rows(first: str) -> list[list[str]]:
    """The cells of the table that begins with this word."""
    table = PAGE.partition(f"\n| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def named(kind: str) -> Iterator[str]:
    for cell, *_ in rows(TABLES[kind]):
        spans = re.findall(r"`([^`]+)`", cell)
        if kind == "events":
            yield from in_full(spans)
        elif kind == "functions":
            yield from (each.partition("(")[0] for each in spans)
        elif kind == "modules":
            yield from (each if each == "Snakepit" else f"Snakepit.{each}" for each in spans)
        else:
            yield from spans


def in_full(spans: list[str]) -> Iterator[str]:
    """A name that stands alone takes the place of the last one before it."""
    before = ""
    for each in spans:
        before = each if ", " in each else f"{before.rpartition(', ')[0]}, {each}"
        yield before


@pytest.mark.parametrize("kind", TABLES)
def test_each_name_of_the_original_has_its_row_and_no_other_has_one(kind: str) -> None:
    found = Counter(named(kind))
    assert found.keys() == original(kind)
    assert kind == "functions" or set(found.values()) == {1}


@pytest.mark.parametrize("kind", TABLES)
def test_each_row_says_what_it_is_here_or_that_there_is_nothing(kind: str) -> None:
    assert [cells for cells in rows(TABLES[kind]) if not cells[1]] == []


def test_the_page_says_with_which_version_it_was_compared() -> None:
    assert f"[snakepit {ORIGINAL.stem.partition('-')[2]}]" in PAGE


def fields() -> set[str]:
    """Whatever a table writes as one of a pool here."""
    roots = "|".join(sorted({found[0] for field in FIELDS if (found := re.match(r"\w+", field))}))
    here = "\n".join(" ".join(cells[1:]) for first in TABLES.values() for cells in rows(first))
    return set(re.findall(rf"`((?:{roots})(?:\.\w+)+|affinity|replicas)[`:]", here))


def test_what_an_option_is_here_is_a_field_of_a_pool() -> None:
    assert len(fields()) > 20
    assert fields() <= {field.replace("[]", "") for field in FIELDS}
