"""What calls itself pure is held to it: import-linter's contract covers each module whose docstring says so."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def claims() -> set[str]:
    """The modules whose docstrings say that they are pure."""
    found = set()
    for path in ROOT.glob("*/src/**/*.py"):
        if "Pure" in (ast.get_docstring(ast.parse(path.read_text())) or ""):
            found.add(".".join(path.relative_to(ROOT).with_suffix("").parts[2:]).removesuffix(".__init__"))
    return found


def test_the_contract_covers_each_module_that_says_it_is_pure() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"].startswith("Decisions are pure")]
    covered = tuple(contract["source_modules"])
    assert len(claims()) > 30
    assert [each for each in sorted(claims()) if not any(f"{each}.".startswith(f"{room}.") for room in covered)] == []
