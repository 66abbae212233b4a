"""What is made of schemas, for hack/docs.py: a page of a pool's fields, out of the CRD, and one of the chart's values."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import chart_values
import yaml

from snakepit.spec.effects import EFFECTS, Effect

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 118
Schema = Mapping[str, Any]

POOL = """# Fields of a SnakePool

Generated from `crds/snakepit.dev_snakepools.yaml` by `make docs`; don't edit. `kubectl explain sp.spec.worker` says
the same, and `snakepit dev` applies the same rules. A field without a default may be left out unless it is required.
"""
EFFECTS_OF_CHANGES = """## What a change does

The longest name that a field begins with counts. Nothing that a pool file says needs capsules to be made again, but
for what rolls them; `status.syncedGeneration` says what the control plane goes by.

| field | a change of it |
|---|---|
"""
DRAINS = """
Two things that have begun go on as they began: a drain has the time that it had, and a call has its deadlines. A
capsule that the operator deletes has the drain of now. One that somebody else deletes or evicts has no more than its
pod was made for: the pod's grace period can't be changed.
"""
VALUES = """# Values of the chart

Generated from the comments of `charts/snakepit/values.yaml` by `make docs`; don't edit. A name that is not here is
refused, but for those in `global`, which other charts read too. The most used ones stand in
[operations](operations.md#values).

`operator`, `controlPlane`, `gateway` and `redis` may have each field of `pods` too. What one of them says takes the
place of what `pods` says of that field, as a whole. Kubernetes' own types, such as Toleration, are those of Kubernetes
1.35: a field that they don't have is refused, too.
"""


def pages() -> dict[str, str]:
    """Their contents by their names in docs/."""
    return {"pool-reference.md": pool_page(), "values-reference.md": values_page()}


def pool_page() -> str:
    crd = yaml.safe_load((ROOT / "crds/snakepit.dev_snakepools.yaml").read_text())
    whole = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    rows = [f"| {', '.join(f'`{path}`' for path, each in EFFECTS.items() if each is effect)} | {effect.value} |" for effect in Effect]
    lines = [POOL, EFFECTS_OF_CHANGES + "\n".join(rows), DRAINS]
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
    text = chart_values.VALUES.read_text()
    defaults = yaml.safe_load(text)
    lines = [VALUES]
    for name, field in chart_values.schema(text)["properties"].items():
        lines += _values(name, field, defaults[name])
    return "\n".join(lines).rstrip() + "\n"


def _values(path: str, field: Schema, default: Any) -> Iterator[str]:
    """A value, and all that is below it, but for what is told where it refers to."""
    words = _like(field["$ref"]) if "$ref" in field else _kind(field, default, False)
    below = {name: each for name, each in field.get("properties", {}).items() if "description" in each}
    if isinstance(default, dict) and not below and any(default.values()):
        words += f", default `{json.dumps(default)}`"
    yield from _lines(f"**`{path}`** ({words}). {_described(field)}", "* ")
    for name, each in below.items():
        yield from _values(f"{path}.{name}", each, (default or {}).get(name))
    for name, each in field.get("items", {}).get("properties", {}).items():
        yield from _values(f"{path}[].{name}", each, None)


def _like(pointer: str) -> str:
    if pointer.startswith(chart_values.KUBERNETES):
        return "object"
    return "as `" + pointer.removeprefix("#/properties/").replace("/properties/", ".") + "`"


def _fields(path: str, field: Schema, required: bool) -> Iterator[str]:
    """A field, and all that is below it."""
    yield from _lines(f"**`{path}`** ({_kind(field, field.get('default'), required)}). {_described(field)}", "* ")
    for rule in _rules(field):
        yield from _lines(_described(rule), "  * ")
    inner, dotted = (field.get("items", {}), f"{path}[]") if field.get("type") == "array" else (field, path)
    for name, below in inner.get("properties", {}).items():
        yield from _fields(f"{dotted}.{name}", below, name in inner.get("required", ()))


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


def _lines(text: str, first: str) -> list[str]:
    return textwrap.wrap(
        text.strip(), WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False
    )
