"""The schema of the lines of our logs, for hack/docs.py: as JSON Schema, and as the table of docs/logs.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from places import in_place

from snakepit._telemetry.log_lines import LogLine

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "docs/log-line.schema.json"
PAGE = ROOT / "docs/logs.md"


def schema() -> dict[str, Any]:
    """Of one line. Fields that it doesn't name may come with later versions."""
    made = msgspec.json.schema(LogLine)["$defs"]["LogLine"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def schema_text() -> str:
    return json.dumps(schema(), indent=2) + "\n"


def page() -> str:
    made = schema()
    rows = [
        f"| `{name}` | {_kind(field, name in made['required'])} | {field['description']} |" for name, field in made["properties"].items()
    ]
    table = "\n".join(["| field | | |", "|---|---|---|", *rows, ""])
    return in_place("logs.md", "the fields of a line", table)


def _kind(field: Mapping[str, Any], required: bool) -> str:
    kind = ", ".join(each for each in field["enum"] if each) if "enum" in field else field["type"]
    return f"{kind}; always there" if required else kind
