"""Says of a pool file what the API server would say, in its words.

It reads the CRD's own schema, so the two can't drift apart; tests/e2e/test_crd_rules.py compares the sentences with a real API server.
It changes nothing and fills in defaults only for itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from snakepit._names import nearest
from snakepit.spec.fields import API_VERSION, KIND
from snakepit.spec.schema import OPEN, VALIDATIONS, Schema, pool_schema

EvaluateCel = Callable[[str, dict[str, Any]], Any]
"""`(expression, variables) -> value`, e.g. `cel.evaluate` of common-expression-language."""

_METADATA = frozenset(
    {"annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName", "generation"}
    | {"labels", "managedFields", "name", "namespace", "ownerReferences", "resourceVersion", "selfLink", "uid"}
)
_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


class Problem(NamedTuple):
    """One fault. `field` is a path from the object's root, and empty for the object as a whole."""

    field: str
    message: str
    blocking: bool = False
    """Rules over several fields can't be evaluated."""
    hint: str = ""
    """What the API server doesn't say: the fields that may have been meant."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class _Node(NamedTuple):
    """A value of the document, what the schema says of it, and where it is."""

    value: Any
    schema: Schema
    path: str

    def below(self, name: str) -> str:
        """Return the path of one of its fields."""
        return f"{self.path}.{name}" if self.path else name


def validate(document: dict[str, Any], evaluate_cel: EvaluateCel | None = None) -> list[Problem]:
    """Find every fault of one SnakePool document: none when the API server would accept it.

    As there, unknown fields are reported alone, and rules are evaluated only where every field has a usable value. A null counts as absent,
    as it does for kubectl.
    """
    if document.get("apiVersion") != API_VERSION or document.get("kind") != KIND:
        return [Problem("", f'no matches for kind "{document.get("kind")}" in version "{document.get("apiVersion")}"')]
    schema = pool_schema()
    if unknown := [each for node in _nodes(_Node(document, schema, "")) for each in _unknown(node)]:
        listed = ", ".join(f'unknown field "{field}"' for field, _ in unknown)
        return [Problem("", f"strict decoding error: {listed}", hint=", ".join(f'"{meant}"' for _, meant in unknown if meant))]
    value = defaulted(document, schema)
    nodes = list(_nodes(_Node(value, schema, "")))
    problems = [*_check_named(value), *(problem for node in nodes for problem in _check(node))]
    if evaluate_cel is None or any(problem.blocking for problem in problems):
        return problems
    return problems + [problem for node in nodes for problem in _check_rules(node, evaluate_cel)]


def defaulted(value: Any, schema: Schema) -> Any:
    """Copy a value without nulls, with the schema's defaults filled in; integers become floats where the schema says number."""
    if isinstance(value, list):
        return [defaulted(each, schema.get("items", {})) for each in value]
    if not isinstance(value, dict):
        return float(value) if schema.get("type") == "number" and type(value) is int else value
    if "properties" not in schema:
        return value
    properties = schema["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    filled = defaults | {name: each for name, each in value.items() if each is not None or (OPEN in schema and name not in properties)}
    return {name: defaulted(each, properties.get(name, {})) for name, each in filled.items()}


def _nodes(node: _Node) -> Iterator[_Node]:
    """Walk over every value that the schema describes; an object comes before its fields."""
    yield node
    below: list[_Node] = []
    if isinstance(node.value, list):
        items = node.schema.get("items", {})
        below = [_Node(each, items, f"{node.path}[{index}]") for index, each in enumerate(node.value)]
    elif isinstance(node.value, dict):
        known = node.schema.get("properties", {})
        below = [_Node(each, known[name], node.below(name)) for name, each in node.value.items() if name in known]
    for each in below:
        yield from _nodes(each)


def _unknown(node: _Node) -> Iterator[tuple[str, str]]:
    """Give the paths of fields that are not known, each with the name that may have been meant."""
    if not isinstance(node.value, dict) or "properties" not in node.schema or OPEN in node.schema:
        return
    known = _METADATA if node.path == "metadata" else node.schema["properties"].keys()
    for name in node.value:
        if name not in known:
            yield node.below(name), next(iter(nearest(name, known)), "")


def _check_named(document: dict[str, Any]) -> Iterator[Problem]:
    metadata = document.get("metadata")
    if metadata is None or (isinstance(metadata, dict) and not metadata.get("name")):
        yield Problem("metadata.name", "Required value: name or generateName is required")


def _check(node: _Node) -> Iterator[Problem]:
    value, schema, path = node
    wanted = "integer,string" if "x-kubernetes-int-or-string" in schema else schema.get("type")
    if wanted is not None and not any(_is(value, each) for each in wanted.split(",")):
        found = next(name for name in _TYPES if _is(value, name))
        yield Problem(path or "<nil>", f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"', blocking=True)
    elif isinstance(value, dict):
        missing = [name for name in schema.get("required", ()) if name not in value]
        yield from (Problem(node.below(name), "Required value", blocking=True) for name in missing)
    elif isinstance(value, list):
        yield from _check_array(value, schema, path)
    elif isinstance(value, str):
        yield from _check_string(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_number(value, schema, path)


def _is(value: Any, type_: str) -> bool:
    if isinstance(value, bool):
        return type_ == "boolean"
    if type_ == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[type_])


def _check_array(value: list[Any], schema: Schema, path: str) -> Iterator[Problem]:
    if len(value) > schema.get("maxItems", len(value)):
        yield Problem(path, f"Too many: {len(value)}: must have at most {schema['maxItems']} items", blocking=True)
    if len(value) < schema.get("minItems", 0):
        yield Problem(path, f"Invalid value: {len(value)}: {path} in body should have at least {schema['minItems']} items")
    if schema.get("x-kubernetes-list-type") == "set":
        twice = [(index, each) for index, each in enumerate(value) if value[:index].count(each) == 1]
        yield from (Problem(f"{path}[{index}]", f"Duplicate value: {json.dumps(each)}") for index, each in twice)


def _check_string(value: str, schema: Schema, path: str) -> Iterator[Problem]:
    if len(value.encode()) > schema.get("maxLength", len(value.encode())):
        yield Problem(path, f"Too long: may not be more than {schema['maxLength']} bytes", blocking=True)
    if len(value) < schema.get("minLength", 0):
        yield Problem(path, f"Invalid value: {json.dumps(value)}: {path} in body should be at least {schema['minLength']} chars long")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield Problem(path, f"Invalid value: {json.dumps(value)}: {path} in body should match '{schema['pattern']}'")
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(each) for each in schema["enum"])
        yield Problem(path, f"Unsupported value: {json.dumps(value)}: supported values: {supported}", blocking=True)


def _check_number(value: float, schema: Schema, path: str) -> Iterator[Problem]:
    minimum, maximum = schema.get("minimum", value), schema.get("maximum", value)
    said = f"Invalid value: {_number(value)}: {path} in body should be"
    if value < minimum:
        yield Problem(path, f"{said} greater than or equal to {_number(minimum)}")
    elif value == minimum and schema.get("exclusiveMinimum"):
        yield Problem(path, f"{said} greater than {_number(minimum)}")
    if value > maximum:
        yield Problem(path, f"{said} less than or equal to {_number(maximum)}")


def _number(value: float) -> str:
    return str(int(value) if float(value).is_integer() else value)


def _check_rules(node: _Node, evaluate: EvaluateCel) -> Iterator[Problem]:
    for rule in node.schema.get(VALIDATIONS, ()):
        if evaluate(rule["rule"], {"self": node.value}) is not True:
            said = "" if isinstance(node.value, dict) else f"{json.dumps(node.value)}: "
            yield Problem(node.path, f"Invalid value: {said}{rule['message']}")
