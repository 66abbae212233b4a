"""The chart's values.schema.json, made of values.yaml: its comments, its defaults, and what they say behind @schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent.parent / "charts/snakepit"
VALUES, SCHEMA = CHART / "values.yaml", CHART / "values.schema.json"
COMMENT = re.compile(r"\s*# ?(.*)")
TYPES = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}

Rules = dict[str, Any]


class Undocumented(Exception):
    """A value's comment doesn't say what it must; the message names the value."""


def schema_text(values: str) -> str:
    """The whole file of that values.yaml. Raises Undocumented."""
    return json.dumps(schema(values), indent=2, ensure_ascii=False) + "\n"


def schema(values: str) -> Rules:
    """What values may be. Raises Undocumented."""
    whole = _Values(values)
    root = yaml.compose(values, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    found = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart snakepit",
        "type": "object",
        "additionalProperties": False,
        "properties": dict(whole.fields(root)),
    }
    _widen(found, found["properties"])
    for path, pointer in _references(found):
        if _at(found, pointer) is None:
            raise Undocumented(f"{path}: there is no {pointer} that it could be like")
    return found


class _Values:
    """The file, whose lines have the comments that YAML passes over."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def fields(self, node: yaml.MappingNode, above: str = "") -> Iterator[tuple[str, Rules]]:
        for key, value in node.value:
            path = f"{above}.{key.value}".lstrip(".")
            yield key.value, self._field(path, self._comment(key.start_mark.line), value)

    def _comment(self, line: int) -> list[str]:
        """The lines right above it."""
        first = line
        while first and self._lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return [COMMENT.sub(r"\1", each) for each in self._lines[first:line]]

    def _field(self, path: str, comment: list[str], node: yaml.Node) -> Rules:
        description = " ".join(each.strip() for each in comment if not each.startswith("@schema"))
        rules: Rules = yaml.safe_load("\n".join(each.removeprefix("@schema") for each in comment if each.startswith("@schema"))) or {}
        if not description:
            raise Undocumented(f"{path}: the line above it must say what it is for")
        if "like" in rules:
            return {"description": description, "$ref": _pointer(rules["like"])}
        default = yaml.SafeLoader("").construct_document(node)
        found = {"description": description}
        if not rules.keys() & {"const", "enum"}:
            found["type"] = TYPES[type(default)]
        leaf = rules.pop("leaf", False)
        if isinstance(node, yaml.MappingNode) and node.value and not leaf:
            found |= {"additionalProperties": False, "properties": dict(self.fields(node, path))}
        elif isinstance(default, dict) and not rules.keys() & {"additionalProperties", "properties"}:
            raise Undocumented(f"{path}: @schema must say what may be in it (additionalProperties)")
        elif isinstance(default, list) and "items" not in rules:
            raise Undocumented(f"{path}: @schema must say what may be in it (items)")
        return found | rules


def _widen(whole: Rules, fields: Mapping[str, Rules]) -> None:
    """`with: pods` becomes a field for each of theirs that is not there itself."""
    for field in fields.values():
        if more := field.pop("with", None):
            for name in whole["properties"][more]["properties"]:
                field["properties"].setdefault(name, {"$ref": _pointer(f"{more}.{name}")})


def _references(field: Rules, path: str = "") -> Iterator[tuple[str, str]]:
    if "$ref" in field:
        yield path, field["$ref"]
    for name, below in field.get("properties", {}).items():
        yield from _references(below, f"{path}.{name}".lstrip("."))


def _pointer(path: str) -> str:
    return "#/properties/" + path.replace(".", "/properties/")


def _at(whole: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        whole = whole.get(part) if isinstance(whole, Mapping) else None
    return whole
