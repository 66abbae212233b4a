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
from snakepit.spec.crd import API_VERSION, KIND, pool_schema
from snakepit.spec.schema import OPEN, RULES, Schema

EvaluateCel = Callable[[str, dict[str, Any]], Any]
"""`(expression, variables) -> value`, e.g. `cel.evaluate` of common-expression-language."""

_METADATA = frozenset(
    {"annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName", "generation"}
    | {"labels", "managedFields", "name", "namespace", "ownerReferences", "resourceVersion", "selfLink", "uid"}
)
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


class Problem(NamedTuple):
    """`field` as a path from the object's root (empty for the object as a whole), and what is wrong with it."""

    field: str
    message: str
    blocking: bool = False
    """Rules over several fields can't be evaluated."""
    hint: str = ""
    """What the API server doesn't say: the fields that may have been meant."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def validate(document: dict[str, Any], evaluate_cel: EvaluateCel | None = None) -> list[Problem]:
    """Every fault of one SnakePool document; empty when the API server would accept it.

    As there, unknown fields are reported alone, and rules are evaluated only where every field has a usable value. A null counts as absent,
    as it does for kubectl.
    """
    if document.get("apiVersion") != API_VERSION or document.get("kind") != KIND:
        return [Problem("", f'no matches for kind "{document.get("kind")}" in version "{document.get("apiVersion")}"')]
    schema = pool_schema()
    if unknown := list(_unknown(document, schema, "")):
        listed = ", ".join(f'unknown field "{field}"' for field, _ in unknown)
        return [Problem("", f"strict decoding error: {listed}", hint=", ".join(f'"{meant}"' for _, meant in unknown if meant))]
    value = defaulted(document, schema)
    problems = [*_check_named(value), *_check(value, schema, "")]
    if evaluate_cel is None or any(problem.blocking for problem in problems):
        return problems
    return problems + list(_check_rules(value, schema, "", evaluate_cel))


def defaulted(value: Any, schema: Schema) -> Any:
    """A copy without nulls, with the schema's defaults filled in; integers become floats where the schema says number."""
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


def _unknown(value: Any, schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    """Paths, each with the name that may have been meant."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _unknown(each, schema.get("items", {}), f"{path}[{index}]")
    if not isinstance(value, dict) or "properties" not in schema:
        return
    known = _METADATA if path == "metadata" else schema["properties"].keys()
    for name, each in value.items():
        here = f"{path}.{name}" if path else str(name)
        if name not in known:
            yield from () if OPEN in schema else ((here, next(iter(nearest(str(name), known)), "")),)
        else:
            yield from _unknown(each, schema["properties"].get(name, {}), here)


def _check_named(document: dict[str, Any]) -> Iterator[Problem]:
    metadata = document.get("metadata")
    if metadata is None or (isinstance(metadata, dict) and not metadata.get("name")):
        yield Problem("metadata.name", "Required value: name or generateName is required")


def _check(value: Any, schema: Schema, path: str) -> Iterator[Problem]:
    wrong = list(_check_type(value, schema, path))
    yield from wrong or _check_value(value, schema, path)


def _check_type(value: Any, schema: Schema, path: str) -> Iterator[Problem]:
    wanted = "integer,string" if "x-kubernetes-int-or-string" in schema else schema.get("type")
    if wanted is None or any(_is(value, each) for each in wanted.split(",")):
        return
    found = _type_name(value)
    yield Problem(path or "<nil>", f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"', blocking=True)


def _is(value: Any, type_: str) -> bool:
    if isinstance(value, bool):
        return type_ == "boolean"
    if type_ == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[type_])


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    return next(name for name in ("object", "array", "string", "boolean", "integer", "number") if _is(value, name))


def _check_value(value: Any, schema: Schema, path: str) -> Iterator[Problem]:
    if isinstance(value, dict):
        yield from _check_object(value, schema, path)
    elif isinstance(value, list):
        yield from _check_array(value, schema, path)
    elif isinstance(value, str):
        yield from _check_string(value, schema, path)
    elif not isinstance(value, bool):
        yield from _check_number(value, schema, path)


def _check_object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Problem]:
    for name in schema.get("required", ()):
        if name not in value:
            yield Problem(f"{path}.{name}" if path else name, "Required value", blocking=True)
    for name, each in value.items():
        if name in schema.get("properties", {}):
            yield from _check(each, schema["properties"][name], f"{path}.{name}" if path else name)


def _check_array(value: list[Any], schema: Schema, path: str) -> Iterator[Problem]:
    for index, each in enumerate(value):
        yield from _check(each, schema.get("items", {}), f"{path}[{index}]")
    if len(value) > schema.get("maxItems", len(value)):
        yield Problem(path, f"Too many: {len(value)}: must have at most {schema['maxItems']} items", blocking=True)
    if len(value) < schema.get("minItems", 0):
        yield Problem(path, f"Invalid value: {len(value)}: {path} in body should have at least {schema['minItems']} items")
    if schema.get("x-kubernetes-list-type") == "set":
        yield from _check_set(value, path)


def _check_set(value: list[Any], path: str) -> Iterator[Problem]:
    for index, each in enumerate(value):
        if value[:index].count(each) == 1:
            yield Problem(f"{path}[{index}]", f"Duplicate value: {json.dumps(each)}")


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
    return str(int(value)) if float(value).is_integer() else str(value)


def _check_rules(value: Any, schema: Schema, path: str, evaluate: EvaluateCel) -> Iterator[Problem]:
    for rule in schema.get(RULES, ()):
        if evaluate(rule["rule"], {"self": value}) is not True:
            said = "" if isinstance(value, dict) else f"{json.dumps(value)}: "
            yield Problem(path, f"Invalid value: {said}{rule['message']}")
    if not isinstance(value, dict):
        return
    for name, each in value.items():
        if name in schema.get("properties", {}):
            yield from _check_rules(each, schema["properties"][name], f"{path}.{name}" if path else name, evaluate)
