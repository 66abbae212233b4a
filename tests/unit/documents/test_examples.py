"""What a reader copies out of the documents works: Python compiles, adapters have their tools, pools are valid, values exist."""

from __future__ import annotations

import ast
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from snakepit import Adapter
from snakepit.author.tools import discover
from snakepit.spec import load_pools
from support import pages

ROOT = Path(__file__).resolve().parents[3]


def blocks(language: str, containing: str = "") -> list[Any]:
    found = [block for page in pages.PAGES for block in pages.blocks(page, language)]
    return [pytest.param(block.text, id=block.id) for block in found if containing in block.text and not block.excerpt]


EXCERPTS = [pytest.param(block, id=block.id) for page in pages.PAGES for block in pages.blocks(page) if block.excerpt]


@pytest.mark.parametrize("text", blocks("python"))
def test_every_piece_of_python_compiles(text: str) -> None:
    compile(text, "document", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("text", blocks("python", "(Adapter)"))
def test_every_adapter_offers_the_tools_that_it_shows(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("copied")
    monkeypatch.setitem(sys.modules, "copied", module)
    exec(compile(text, "document", "exec"), module.__dict__)
    (adapter,) = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Adapter) and each is not Adapter]
    assert len(discover(adapter())) == text.count("@tool")


@pytest.mark.parametrize("block", EXCERPTS)
def test_what_a_page_shows_of_an_example_is_in_the_file_that_runs(block: pages.Block) -> None:
    """As it stands there, or a part of a class without its indent."""
    text = (ROOT / block.excerpt).read_text()
    assert block.text.strip() in text or textwrap.indent(block.text, "    ").strip() in text


def test_there_are_excerpts() -> None:
    assert {each.values[0].page for each in EXCERPTS} >= {"docs/author.md", "docs/session-memory.md"}


@pytest.mark.parametrize("text", blocks("yaml", "\nkind: SnakePool\n"))
def test_every_pool_is_valid(text: str) -> None:
    assert load_pools(text)


def _values_of_the_table() -> list[str]:
    section = (ROOT / "docs/operations.md").read_text().split("### Values")[1].split("\n#")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name.strip(" `") for row in rows for name in row.split(",")]


@pytest.mark.parametrize("name", _values_of_the_table())
def test_every_value_that_the_table_names_exists(name: str) -> None:
    value = yaml.safe_load((ROOT / "charts/snakepit/values.yaml").read_text())
    for part in name.removesuffix(".*").split("."):
        assert part in value, name
        value = value[part]


def pins(path: Path) -> dict[str, set[str]]:
    """The hashes of each `name==version`; markers say where it is needed, and differ."""
    lines = [line.strip(" \\") for line in path.read_text().splitlines() if line.partition("#")[0].strip()]
    found: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("--hash="):
            found[list(found)[-1]].add(line)
        else:
            found[line.partition(" ;")[0]] = set()
    return found


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/requirements.txt")), ids=lambda path: path.parent.name)
def test_what_an_example_pins_is_what_its_tests_run_with(path: Path) -> None:
    """But for what Linux has no use for."""
    wanted, there = pins(path), pins(ROOT / "requirements/dev.txt")
    elsewhere = {line.partition(" ;")[0] for line in path.read_text().splitlines() if "; sys_platform == 'win32'" in line}
    assert {name: wanted[name] for name in wanted.keys() - elsewhere} == {name: there.get(name) for name in wanted.keys() - elsewhere}
    assert wanted.keys() - elsewhere
    assert all(wanted.values())
