"""The pages that are made of schemas, for hack/docs.py: a pool's fields out of the CRD, the chart's values out of theirs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 118
Schema = Mapping[str, Any]

POOL = """# Fields of a SnakePool

Generated from `crds/snakepit.dev_snakepools.yaml` by `make docs`; don't edit. `kubectl explain sp.spec.worker` says
the same, and `snakepit dev` applies the same rules. A field without a default may be left out unless it is required.
"""
VALUES = """# Values of the chart

Generated from `charts/snakepit/values.schema.json` and `charts/snakepit/values.yaml` by `make docs`; don't edit. A
name that is not here is refused. The most used ones stand in [operations](operations.md#values).
"""


def pages() -> dict[str, str]:
    """Their contents by their names in docs/."""
    return {"pool-reference.md": pool_page(), "values-reference.md": values_page()}


def pool_page() -> str:
    crd = yaml.safe_load((ROOT / "crds/snakepit.dev_snakepools.yaml").read_text())
    whole = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    lines = [POOL]
    for part, title in (("spec", "What you write"), ("status", "What the operator writes")):
        lines += [f"## {title}: `{part}`\n"]
        schema = whole[part]
        for rule in _rules(schema):
            lines += _lines(_described(rule), "* ")
        for name, field in schema.get("properties", {}).items():
            lines += _fields(name, field, name in schema.get("required", ()))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def values_page() -> str:
    schema = json.loads((ROOT / "charts/snakepit/values.schema.json").read_text())
    defaults = yaml.safe_load((ROOT / "charts/snakepit/values.yaml").read_text())
    lines = [VALUES]
    for name, field in schema["properties"].items():
        lines += _fields(name, _resolved(field, schema), name in schema.get("required", ()), whole=schema, defaults=defaults)
    return "\n".join(lines).rstrip() + "\n"


def _fields(path: str, field: Schema, required: bool, *, whole: Schema | None = None, defaults: Any = None) -> Iterator[str]:
    """A field, and all that is below it."""
    default = field.get("default") if whole is None else _at(defaults, path)
    yield from _lines(f"**`{path}`** ({_kind(field, default, required)}). {_described(field)}", "* ")
    for rule in _rules(field):
        yield from _lines(_described(rule), "  * ")
    inner, dotted = (field.get("items", {}), f"{path}[]") if field.get("type") == "array" else (field, path)
    inner = _resolved(inner, whole) if whole else inner
    for name, below in inner.get("properties", {}).items():
        resolved = _resolved(below, whole) if whole else below
        yield from _fields(f"{dotted}.{name}", resolved, name in inner.get("required", ()), whole=whole, defaults=defaults)


def _resolved(field: Schema, whole: Schema) -> Schema:
    if "$ref" not in field:
        return field
    target = whole["definitions"][field["$ref"].rpartition("/")[2]]
    return {**target, **{key: value for key, value in field.items() if key != "$ref"}}


def _rules(field: Schema) -> Iterator[Schema]:
    for rule in field.get("x-kubernetes-validations", ()):
        yield {"description": rule.get("message", rule["rule"])}


def _kind(field: Schema, default: Any, required: bool) -> str:
    kind = field.get("type", "integer or string" if field.get("x-kubernetes-int-or-string") else "any")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    words = [" or ".join(f"`{each}`" if each else '`""`' for each in field["enum"]) if "enum" in field else kind]
    words += ["required"] if required else []
    if default not in (None, "", [], {}) and not isinstance(default, dict):
        words.append(f"default `{json.dumps(default) if isinstance(default, (bool, list)) else default}`")
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None or high is not None:
        words.append(f"{low} to {high}" if None not in (low, high) else f"at least {low}" if high is None else f"at most {high}")
    return ", ".join(words)


def _described(field: Schema) -> str:
    text = " ".join(str(field.get("description", "")).split())
    return text if not text or text.endswith((".", ":", "!")) else f"{text}."


def _at(defaults: Any, path: str) -> Any:
    for name in path.split("."):
        defaults = defaults.get(name) if isinstance(defaults, Mapping) else None
    return defaults


def _lines(text: str, first: str) -> list[str]:
    return textwrap.wrap(
        text.strip(), WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False
    )
