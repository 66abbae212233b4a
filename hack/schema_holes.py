"""Finds holes in a JSON schema: what has no type or no description, and where any name is taken, also a wrong one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Rules = dict[str, Any]

OPEN = ("global",)
"""Where other names are passed over: a parent chart says there what its other charts go by."""


def holes(whole: Rules) -> Iterator[str]:
    """What in a schema has no type or no description, or takes what nobody has described: a sentence each."""
    for name, field in whole["properties"].items():
        yield from _holes(whole, name, field)


def _holes(whole: Rules, path: str, field: Rules, told: bool = False) -> Iterator[str]:
    """`told`: it needs no description of its own, as it is one of a list, or any of a map."""
    told = told or "description" in field
    if "$ref" in field:
        yield from _holes(whole, path, at(whole, field["$ref"]), told)
        return
    if not told:
        yield f"{path}: nothing says what it is for"
    choices = field.get("oneOf", [])
    if not choices and "type" not in field:
        yield f"{path}: nothing says which type it has"
    for each in choices:
        yield from _holes(whole, path, each, told=True)
    if field.get("type") == "array":
        yield from _holes(whole, f"{path}[]", field.get("items", {}), told=True)
    if field.get("type") == "object":
        yield from _within(whole, path, field)


def _within(whole: Rules, path: str, field: Rules) -> Iterator[str]:
    more = field.get("additionalProperties", True)
    if isinstance(more, dict):
        yield from _holes(whole, f"{path}.*", more, told=True)
    elif more and path not in OPEN:
        yield f"{path}: any name is taken there, also a wrong one"
    for name, each in field.get("properties", {}).items():
        yield from _holes(whole, f"{path}.{name}", each)


def at(whole: Any, pointer: str) -> Any:
    """What is there, such as `#/properties/image`; None: nothing is."""
    for part in pointer.split("/")[1:]:
        whole = whole.get(part) if isinstance(whole, Mapping) else None
    return whole
