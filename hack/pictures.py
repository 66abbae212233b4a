"""The pictures in docs/ that are drawn from the code, for hack/docs.py: tables of states as Mermaid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snakepit_agent.model import seats
from snakepit_control_plane.model import call

DOCS = Path(__file__).resolve().parent.parent / "docs"
PLACE = r"(?<=<!-- {}: make docs -->\n).*?(?=<!-- end -->)"

Lines = Iterator[str]


def pages() -> dict[str, str]:
    """Pages as they are, each with today's picture, by their names in docs/."""
    drawn = {
        "workers.md": ("the table of states", of_workers()),
        "architecture.md": ("the states of a call", of_calls()),
    }
    return {name: in_place(name, place, picture) for name, (place, picture) in drawn.items()}


def in_place(name: str, place: str, picture: str) -> str:
    """The page of docs/ with what is drawn where it says so."""
    found, count = re.subn(PLACE.format(place), lambda _: picture, (DOCS / name).read_text(), flags=re.DOTALL)
    assert count == 1, f"docs/{name} has no place for {place}"
    return found


def of_workers() -> str:
    events = {state: {to: event.value for event, to in row.items()} for state, row in seats.TABLE.items()}
    return _mermaid({state: state.name for state in events}, {state: state.value for state in events}, events)


def of_calls() -> str:
    events: dict[Any, dict[Any, str]] = {state: {to: event for event, to in row.items()} for state, row in call.TABLE.items()}
    names = {state: state.name.upper() for state in events}
    return _mermaid(names, {state: state.meaning for state in events}, events)


def _mermaid(names: Mapping[Any, str], meanings: Mapping[Any, str], events: Mapping[Any, Mapping[Any, str]]) -> str:
    """The first state is where all begins."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(names.values()))}"]
    lines += [f"    {name}: {name}<br/>{_plain(meanings[state])}" for state, name in names.items()]
    lines += [f"    {names[state]} --> {names[to]}: {event}" for state, row in events.items() for to, event in row.items()]
    lines += [f"    {names[state]} --> [*]" for state, row in events.items() if not row]
    return "\n".join([*lines, "```", ""])


def _plain(text: str) -> str:
    """Mermaid ends a text at a semicolon, and may at a colon."""
    return text.replace(";", ",").replace(":", " -")
