"""The schema of a `SnakePool`, made from `fields` and `rules`: Kubernetes' structural one, the part of OpenAPI v3 that a
CustomResourceDefinition may use."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from snakepit.spec.fields import NAME_LENGTH, NAME_PATTERN, SnakePool, SnakePoolSpec
from snakepit.spec.rules import RULES
from snakepit.spec.status import SnakePoolStatus

Schema = dict[str, Any]

VALIDATIONS = "x-kubernetes-validations"
OPEN = "x-kubernetes-preserve-unknown-fields"


@cache
def pool_schema() -> Schema:
    """Make the schema of a whole SnakePool, rules included. Callers share it and must not change it."""
    spec = schema_of(inspect.type_info(SnakePoolSpec))
    root: Schema = {
        "type": "object",
        "description": SnakePool.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": NAME_LENGTH, "pattern": NAME_PATTERN}}},
            "spec": spec,
            "status": schema_of(inspect.type_info(SnakePoolStatus)),
        },
    }
    for rule in RULES:
        node = root
        for step in rule.path:
            node = node["properties"][step]
        node.setdefault(VALIDATIONS, []).append({"rule": rule.expression, "message": rule.message})
    return root


def schema_of(type_: inspect.Type) -> Schema:
    """Make the structural schema of one type. Raises TypeError for a type that has none."""
    match type_:
        case inspect.Metadata():
            return _annotated(type_)
        case inspect.UnionType():
            return _union(type_)
        case inspect.StructType():
            return _struct(type_)
        case inspect.VarTupleType():
            return {"type": "array", "items": schema_of(type_.item_type), **_limits(type_, "minItems", "maxItems")}
        case inspect.LiteralType():
            # msgspec sorts the values; the order of the annotation is lost, alphabetical order is stable.
            return {"type": "string", "enum": sorted(str(value) for value in type_.values)}
        case _:
            return _scalar(type_)


def _struct(type_: inspect.StructType) -> Schema:
    properties = {field.encode_name: _field(field) for field in type_.fields}
    required = [field.encode_name for field in type_.fields if field.required]
    schema: Schema = {"type": "object", "description": " ".join((type_.cls.__doc__ or "").split()), "properties": properties}
    return {**schema, "required": required} if required else schema


def _field(field: inspect.Field) -> Schema:
    schema = schema_of(field.type)
    default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if default is not msgspec.NODEFAULT and default is not None and default != ():
        schema["default"] = _without_nulls(msgspec.to_builtins(default))
    return schema


def _annotated(type_: inspect.Metadata) -> Schema:
    extra = type_.extra or {}
    schema = {**schema_of(type_.type), **(type_.extra_json_schema or {})}
    if "says" in extra:
        # A pattern that is not met is answered with the pattern; a rule, with a sentence.
        schema[VALIDATIONS] = [{"rule": f"self.matches(r'{schema.pop('pattern')}')", "message": extra["says"]}]
    if extra.get("set"):
        schema["x-kubernetes-list-type"] = "set"
    if "map_key" in extra:
        schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [extra["map_key"]]}
    if "format" in extra:
        schema["format"] = extra["format"]
    return schema


def _union(type_: inspect.UnionType) -> Schema:
    members = [schema_of(each) for each in type_.types if not isinstance(each, inspect.NoneType)]
    if len(members) == 1:
        (only,) = members
        return only
    limits = {key: value for member in members for key, value in member.items() if key not in ("type", "format")}
    for rule in limits.get(VALIDATIONS, ()):
        rule["rule"] = f"type(self) == int || {rule['rule']}"
    if [member["type"] for member in members] != ["integer", "string"]:
        raise TypeError(f"no structural schema for {type_}")
    return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, **limits}


def _scalar(type_: inspect.Type) -> Schema:
    match type_:
        case inspect.StrType():
            pattern = {"pattern": type_.pattern} if type_.pattern else {}
            return {"type": "string", **pattern, **_limits(type_, "minLength", "maxLength")}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer", "format": "int64", **_range(type_)}
        case inspect.FloatType():
            return {"type": "number", **_range(type_)}
        case inspect.DictType():
            return {"type": "object"}
        case _:
            raise TypeError(f"no structural schema for {type_}")


def _range(type_: inspect.IntType | inspect.FloatType) -> Any:
    # A fractional minimum is no use: the API server rounds it down for values without a fraction.
    low = {"minimum": type_.ge} if type_.gt is None else {"minimum": type_.gt, "exclusiveMinimum": True}
    return _without_nulls({**low, "maximum": type_.le})


def _limits(type_: Any, low: str, high: str) -> Any:
    return _without_nulls({low: type_.min_length, high: type_.max_length})


def _without_nulls(value: Any) -> Any:
    """Copy a tree as JSON would have it: tuples become lists, and fields that are null are left out."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(each) for each in value]
    return value
