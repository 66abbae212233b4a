"""Lines of logs, each held against the schema that docs/ has of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).resolve().parents[2] / "docs/log-line.schema.json"


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text()))


def line(text: str | bytes) -> dict[str, Any]:
    """A line of a log. Fails where it is no JSON, breaks the schema, or has a field that isn't there."""
    found: dict[str, Any] = json.loads(text)
    _validator().validate(found)
    unknown = found.keys() - _validator().schema["properties"].keys()
    assert not unknown, f"the schema has no {unknown}: {text!r}"
    return found


def lines(texts: Iterable[str | bytes]) -> list[dict[str, Any]]:
    """All of them."""
    return [line(each) for each in texts]
