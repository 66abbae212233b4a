"""The chart's README, out of README.md.gotmpl and values.yaml: what helm-docs makes of them, with a table of every value.

`make test-helm` has the real helm-docs make it, too, and compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import chart_values
import yaml

README, TEMPLATE = chart_values.CHART / "README.md", chart_values.CHART / "README.md.gotmpl"
TABLE = '{{ template "chart.valuesTable" . }}'
HEAD = "| Key | Type | Default | Description |\n|-----|------|---------|-------------|\n"
NOTE = re.compile(r"\A\{\{- /\*.*?\*/ -\}\}\s*", re.DOTALL)
KINDS = {bool: "bool", int: "int", str: "string", list: "list", dict: "object"}


def page() -> str:
    """The whole README. Raises Undocumented."""
    return NOTE.sub("", TEMPLATE.read_text()).replace(TABLE, table(chart_values.VALUES.read_text()))


def table(values: str) -> str:
    """Every value of that values.yaml, in its order, as helm-docs writes it. Raises Undocumented."""
    return HEAD + "\n".join(f"| {name} | {KINDS[type(each)]} | `{_json(each)}` | {words} |" for name, each, words in rows(values))


def rows(values: str) -> Iterator[tuple[str, object, str]]:
    """Name, default and description of each. Raises Undocumented."""
    defaults = yaml.safe_load(values)
    for path, words in chart_values.leaves(values):
        default = defaults
        for part in path.split("."):
            default = default[part]
        yield path, default, words


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
