"""docs/environment.md is made of what fields of settings say: each program reads what its part names, and has the defaults there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest

import snakepit_agent.settings as of_agent
import snakepit_control_plane.settings as of_control_plane
import snakepit_gateway.settings as of_gateway
import snakepit_operator.settings as of_operator
from support.pages import ROOT

PAGE = (ROOT / "docs/environment.md").read_text()
SPEC = '{"worker": {"adapter": "a.b:C"}}'
TOKENS = "/nowhere/tokens.csv"
PROGRAMS: dict[str, tuple[Callable[[Mapping[str, str]], Any], dict[str, str]]] = {
    "Control plane": (
        of_control_plane.from_environment,
        {"SNAKEPIT_AUTH": "required", "SNAKEPIT_AUTH_TOKENS_FILE": TOKENS, "SNAKEPIT_AUTH_KEYS": "/nowhere/keys.json"}
        | {"SNAKEPIT_AUTH_AUDIENCE": "a.b", "SNAKEPIT_AUTH_OPERATOR": "system:serviceaccount:a:b", "SNAKEPIT_AUTH_ISSUER": "https://a.b"},
    ),
    "Gateway": (of_gateway.from_environment, {}),
    "Agent": (
        of_agent.from_environment,
        {"SNAKEPIT_POOL": "a/b", "SNAKEPIT_CAPSULE": "b-0", "SNAKEPIT_SERVER": "a:7800", "SNAKEPIT_SPEC": SPEC},
    ),
    "Operator": (of_operator.load, {"POD_NAMESPACE": "a", "SNAKEPIT_AGENT_IMAGE": "a:1"}),
}
"""How each reads its environment, and what it has to be told."""
DESCRIBED = {"", "\N{EN DASH}", "required", "all", "the headless Service", "half of the memory limit", "who signed the token file"}
DESCRIBED |= {"the host's name", "any free port", "`<service>-tls`", "`<service>-gateway-tls`"}
"""What stands in the place of a default that isn't a value."""


class Asked(dict[str, str]):
    """An environment that knows what it was asked for."""

    def __init__(self, told: Mapping[str, str]) -> None:
        super().__init__(told)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return super().__getitem__(name)


def settings(read: Any) -> dict[str, Any]:
    """But for what is made of variables that have no default, and is no value."""
    return {each.name: getattr(read, each.name) for each in fields(read) if each.name != "trust"}


def rows(part: str) -> Iterator[tuple[list[str], str]]:
    """The names of each row of a part of the page, and what it says is there by default."""
    text = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    for line in text.splitlines():
        if line.startswith("| ") and (names := re.findall(r"`([A-Z][A-Z_]+)`", line.partition(" | ")[0])):
            yield names, line.split(" | ")[1]


def told(part: str) -> set[str]:
    return {name for names, _ in rows(part) for name in names}


def defaults(part: str) -> Iterator[tuple[str, str]]:
    """Each variable with its default, where that is a value; what the chart says instead stands behind it."""
    for names, cell in rows(part):
        said = re.sub(r" \(.*\)$", "", cell)
        if said not in DESCRIBED:
            values = [each.strip(" `") for each in said.split(", ")]
            yield from zip(names, values if len(values) > 1 else values * len(names), strict=True)


CASES = [(part, name, value) for part in PROGRAMS for name, value in defaults(part)]


@pytest.mark.parametrize("part", PROGRAMS)
def test_what_a_program_reads_is_told_in_its_part_or_that_of_all(part: str) -> None:
    read, needs = PROGRAMS[part]
    asked = Asked(needs)
    read(asked)
    assert asked.names <= told(part) | told("Every program of ours") | told("Programs that call, and the command line")
    assert len(asked.names) > 10


def test_most_defaults_are_values() -> None:
    assert len(CASES) > 40


@pytest.mark.parametrize(("part", "name", "value"), CASES)
def test_a_default_of_the_page_is_the_programs(part: str, name: str, value: str) -> None:
    """Who sets it to that has what he had."""
    read, needs = PROGRAMS[part]
    needs = {each: text for each, text in needs.items() if not (part == "Control plane" and name == "SNAKEPIT_AUTH")}
    asked = Asked({**needs, name: value})
    assert settings(read(asked)) == settings(read(needs))
    assert name in asked.names
