"""The tables of docs/tracing.md, for hack/docs.py: what spans there are, their attributes and their events."""

from __future__ import annotations

from pathlib import Path

from places import in_place

from snakepit._telemetry.spans import ATTRIBUTES, EVENTS, TABLE, Kind

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/tracing.md"


def page() -> str:
    return in_place("tracing.md", "what traces say", "\n".join([*_spans(), "", *_attributes(), "", *_events(), ""]))


def _spans() -> list[str]:
    rows = [f"| `{each.name}` | {_services(each)}, {each.role} | {each.text} |" for each in TABLE]
    return ["| span | service, kind | what it is |", "|---|---|---|", *rows]


def _services(kind: Kind) -> str:
    return " or ".join(f"`{each}`" for each in (kind.service, *kind.also))


def _attributes() -> list[str]:
    rows = [f"| `{name}` | {_of(name)} | {text} |" for name, text in ATTRIBUTES.items()]
    return ["| attribute | of | what it says |", "|---|---|---|", *rows]


def _of(attribute: str) -> str:
    return ", ".join(dict.fromkeys(f"`{each.name}`" for each in TABLE if attribute in each.attributes)) or "events"


def _events() -> list[str]:
    rows = [f"| `{name}` | {_with(name)} | {text} |" for name, text in EVENTS.items()]
    return ["| event | of | what has happened |", "|---|---|---|", *rows]


def _with(event: str) -> str:
    return ", ".join(dict.fromkeys(f"`{each.name}`" for each in TABLE if event in each.events))
