"""The tables of docs/environment.md, for hack/docs.py: what a program's settings say of their variables.

The docstring of a field names the variable that it is read from, `(SNAKEPIT_X)`. Where its default is no value of its own, it says what
stands in its place: `(SNAKEPIT_X, by default half of the memory limit)`. Fields that name none are made of others. What each program does
is compared with names and defaults by tests/unit/documents.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import msgspec
from places import DOCS, filled

from snakepit_agent.settings import Settings as Agent
from snakepit_control_plane.authentication.settings import Authentication
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.settings import Settings as ControlPlane
from snakepit_gateway.settings import Settings as Gateway
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings as Operator

PAGE = DOCS / "environment.md"
PARTS: Mapping[str, tuple[type, ...]] = {
    "the control plane": (ControlPlane, Limits),
    "who may call": (Authentication,),
    "the gateway": (Gateway,),
    "the agent": (Agent,),
    "the operator": (Operator, AgentImage),
}
WANTED = frozenset(
    {
        "SNAKEPIT_LANE_LISTEN",
        "SNAKEPIT_GATEWAY_MAX_HELD_BYTES",
        "SNAKEPIT_GATEWAY_AUTHORIZATION_SERVERS",
        "SNAKEPIT_LARGE_BYTES",
        "SNAKEPIT_MAX_NESTED_CALLS",
    }
)
"""Those that somebody may want to set who has the chart."""
NONE = "\N{EN DASH}"

_VARIABLE = r"[A-Z]+(?:_[A-Z]+)+"
_NAMED = re.compile(rf" ?\(({_VARIABLE}(?:(?:, | and ){_VARIABLE})*)(?:, by default ([^()]+))?\)")


def page() -> str:
    """The page as it is, with today's tables."""
    text = PAGE.read_text()
    for place, kinds in PARTS.items():
        text = filled(
            text, place, "".join(["| variable | default | what |\n|---|---|---|\n", *(row for each in kinds for row in rows(each))])
        )
    return text


def rows(kind: type) -> Iterator[str]:
    """Of the fields of one class, in their order."""
    defaults = dict(_defaults(kind))
    for name, said in _docstrings(kind):
        if (named := _NAMED.search(said)) is not None:
            variables = re.findall(_VARIABLE, named[1])
            cells = (
                ", ".join(map(_code, variables)),
                named[2] or (_shown(defaults[name]) if name in defaults else "required"),
                _what(_NAMED.sub("", said)),
            )
            yield f"| {' | '.join(cells)} |\n"


def _docstrings(kind: type) -> Iterator[tuple[str, str]]:
    """What stands below each field, on one line."""
    (made,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(made, ast.ClassDef)
    for field, below in zip(made.body, made.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            yield field.target.id, " ".join(str(below.value.value).split())


def _defaults(kind: type) -> Iterator[tuple[str, Any]]:
    for each in fields(kind) if is_dataclass(kind) else msgspec.structs.fields(kind):
        if each.default not in (MISSING, msgspec.NODEFAULT):
            yield each.name, each.default
        elif each.default_factory not in (MISSING, msgspec.NODEFAULT):
            yield each.name, None


def _code(variable: str) -> str:
    return f"**`{variable}`**" if variable in WANTED else f"`{variable}`"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        default = ",".join(default)
    if default is None or default == "":
        return NONE
    return f"{default:g}" if isinstance(default, float) else str(default) if isinstance(default, int) else f"`{default}`"


def _what(said: str) -> str:
    """As a cell; pages that it names are links."""
    linked = re.sub(r"docs/([\w-]+)\.md(#[\w-]+)?", lambda page: f"[{page[1].replace('-', ' ')}]({page[1]}.md{page[2] or ''})", said)
    text = linked.removesuffix(".").replace("|", "\\|")
    return text if re.match("[A-Z]{2}", text) else text[:1].lower() + text[1:]
