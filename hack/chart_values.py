"""The chart's values.schema.json, made of values.yaml: its comments, its defaults, and what they say behind @schema.

Comments have the form of helm-docs: what stands behind `# -- ` describes a value. A part, which has values below it, has a plain comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_types
import yaml
from schema_holes import OPEN, at, holes

CHART = Path(__file__).resolve().parent.parent / "charts/snakepit"
VALUES, SCHEMA = CHART / "values.yaml", CHART / "values.schema.json"
COMMENT = re.compile(r"\s*# ?(.*)")
MARK = "-- "
KUBERNETES = "#/definitions/"
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
    _require(found, found, yaml.safe_load(values))
    _widen(found, found["properties"])
    for path, pointer in _references(found):
        if not pointer.startswith(KUBERNETES) and at(found, pointer) is None:
            raise Undocumented(f"{path}: there is no {pointer} that it could be like")
    found["definitions"] = _kubernetes(found)
    if problem := next(holes(found), ""):
        raise Undocumented(problem)
    return found


def leaves(values: str) -> Iterator[tuple[str, str]]:
    """The path and the description of every value in that values.yaml, in its order. Raises Undocumented."""
    root = yaml.compose(values, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _Values(values).leaves(root)


def _kubernetes(whole: Rules) -> Rules:
    """Kubernetes' types that it is made of. Raises Undocumented."""
    known: Rules = json.loads(kubernetes_types.FILE.read_text())
    used: Rules = {}
    wanted = list(kubernetes_types.referred(whole))
    while wanted:
        if (name := wanted.pop()) not in used:
            if name not in known:
                raise Undocumented(f"{name} is not in hack/kubernetes_types.py: name it there")
            used[name] = known[name]
            wanted += kubernetes_types.referred(used[name])
    return dict(sorted(used.items()))


class _Values:
    """The file, whose lines have the comments that YAML passes over."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def fields(self, node: yaml.MappingNode, above: str = "") -> Iterator[tuple[str, Rules]]:
        for key, value in node.value:
            path = f"{above}.{key.value}".lstrip(".")
            yield key.value, self._field(path, self._comment(key.start_mark.line), value)

    def leaves(self, node: yaml.MappingNode, above: str = "") -> Iterator[tuple[str, str]]:
        for key, value in node.value:
            path, comment = f"{above}.{key.value}".lstrip("."), self._comment(key.start_mark.line)
            if is_leaf(value, _rules(comment)):
                yield path, _described(path, comment, leaf=True)
            else:
                yield from self.leaves(value, path)

    def _comment(self, line: int) -> list[str]:
        """The lines right above it."""
        first = line
        while first and self._lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return [COMMENT.sub(r"\1", each) for each in self._lines[first:line]]

    def _field(self, path: str, comment: list[str], node: yaml.Node) -> Rules:
        rules = _rules(comment)
        leaf = is_leaf(node, rules)
        description = _described(path, comment, leaf)
        if "like" in rules:
            return {"description": description, "$ref": _pointer(rules["like"])}
        default = yaml.SafeLoader("").construct_document(node)
        if kubernetes := rules.pop("is", ""):
            same = {"$ref": KUBERNETES + kubernetes}
            rules |= {"items": same} if isinstance(default, list) else same
        found = {"description": description}
        if "$ref" not in rules:
            found["type"] = TYPES[type(default)]
        if not leaf:
            assert isinstance(node, yaml.MappingNode)
            found |= {"additionalProperties": False, "properties": dict(self.fields(node, path))}
        return found | rules


def is_leaf(node: yaml.Node, rules: Rules) -> bool:
    """Is it a value? Else it is a part, of the values below it."""
    whole = bool(rules.keys() & {"like", "is"}) or isinstance(rules.get("additionalProperties"), dict)
    return whole or not (isinstance(node, yaml.MappingNode) and node.value)


def _rules(comment: list[str]) -> Rules:
    """What stands behind @schema."""
    return yaml.safe_load("\n".join(each.removeprefix("@schema") for each in comment if each.startswith("@schema"))) or {}


def _described(path: str, comment: list[str], leaf: bool) -> str:
    """What its comment says. Raises Undocumented."""
    lines = [each for each in comment if not each.startswith("@schema")]
    if not lines:
        raise Undocumented(f"{path}: the line above it must say what it is for")
    if leaf != lines[0].startswith(MARK):
        raise Undocumented(f"{path}: the comment of a value begins with `# {MARK}`, and that of a part doesn't")
    return " ".join(each.strip() for each in lines).removeprefix(MARK)


def _widen(whole: Rules, fields: Mapping[str, Rules]) -> None:
    """`with: pods` becomes a field for each of theirs that is not there itself."""
    for field in fields.values():
        if more := field.pop("with", None):
            for name in whole["properties"][more]["properties"]:
                field["properties"].setdefault(name, {"$ref": _pointer(f"{more}.{name}")})


def _require(whole: Rules, part: Rules, defaults: Mapping[str, Any]) -> None:
    """What has a default is missing only where somebody's values have null, or nothing, behind its name: helm takes it away then.

    Templates can do without a text that is empty by default, and what is of Kubernetes' own types, unless there must be one at least.
    """
    fields = {name: each for name, each in part["properties"].items() if name in defaults}
    part["required"] = [name for name, each in fields.items() if defaults[name] != "" and not _is_kubernetes(whole, each)]
    for name, each in fields.items():
        if name not in OPEN and "properties" in each and defaults[name] and isinstance(defaults[name], dict):
            _require(whole, each, defaults[name])


def _is_kubernetes(whole: Rules, field: Rules) -> bool:
    if field.get("type") == "array" and "minItems" not in field:
        field = field.get("items", {})
    pointer = field.get("$ref", "")
    return pointer.startswith(KUBERNETES) or (bool(pointer) and _is_kubernetes(whole, at(whole, pointer) or {}))


def _references(field: Rules, path: str = "") -> Iterator[tuple[str, str]]:
    if "$ref" in field:
        yield path, field["$ref"]
    for name, below in field.get("properties", {}).items():
        yield from _references(below, f"{path}.{name}".lstrip("."))


def _pointer(path: str) -> str:
    return "#/properties/" + path.replace(".", "/properties/")
