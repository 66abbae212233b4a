"""What documents point at is there, and the check that says so notices when it isn't."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from support.pages import PAGES
from support.scripts import imported

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    sys.path.append(str(ROOT / "hack"))
    return imported(ROOT / "hack/docs.py")


@pytest.mark.parametrize("page", ["workers.md", "architecture.md"])
def test_a_table_of_states_that_is_another_than_its_picture_is_noticed(
    docs: ModuleType, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {"workers.md": docs.pictures.seats, "architecture.md": docs.pictures.states}[page]
    first, *others = drawn.TABLE.items()
    monkeypatch.setattr(drawn, "TABLE", dict([(first[0], {}), *others]))
    assert f"docs/{page} is not up to date: run make docs" in docs.stale()


def test_a_rule_that_is_another_than_its_picture_is_noticed(docs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs.pictures, "judge", lambda sign, heartbeat: docs.pictures.pool_pb2.LIVENESS_LOST - (sign.silence < 7))
    monkeypatch.setattr(docs.pictures, "choose", lambda state, request: next(iter(docs.pictures.BindingState)))
    stale = docs.stale()
    for page in ("capsules", "sessions"):
        assert f"docs/concepts/{page}.md is not up to date: run make docs" in stale


def test_a_path_that_is_served_and_not_told_is_noticed(docs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs.http_page.served, "PATHS", {**docs.http_page.served.PATHS, "/v1/more": {"GET": "More"}})
    assert "docs/http.md is not up to date: run make docs" in docs.stale()


def test_a_variable_whose_default_is_another_than_the_page_says_is_noticed(docs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs.environment.Agent.__dataclass_fields__["health_port"], "default", 7899)
    assert "docs/environment.md is not up to date: run make docs" in docs.stale()


def test_a_limit_of_mcp_that_is_another_than_the_page_says_is_noticed(docs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs.http_page.listening, "MOST_LISTENERS", 3)
    assert "docs/mcp.md is not up to date: run make docs" in docs.stale()


def test_a_place_in_a_page_is_filled_once_and_nothing_beyond_it(docs: ModuleType) -> None:
    page = "<!-- a: make docs -->\n<!-- end -->\nand\n<!-- b: make docs -->\nold\n<!-- end -->\n"
    filled = docs.http_page.filled(docs.http_page.filled(page, "a", "1\n"), "b", "2\n")
    assert filled == "<!-- a: make docs -->\n1\n<!-- end -->\nand\n<!-- b: make docs -->\n2\n<!-- end -->\n"


def _part(page: str, name: str) -> str:
    return page.partition(f"## {name}\n")[2].partition("\n## ")[0]


def test_every_module_is_on_the_page_of_rooms(docs: ModuleType) -> None:
    page = docs.rooms.page()
    for name, folder in docs.rooms.PACKAGES.items():
        modules = {each.relative_to(ROOT / folder).as_posix() for each in (ROOT / folder).rglob("*.py") if each.name != "__init__.py"}
        told = set(re.findall(r"^\| `([^`]+\.py)` \|", _part(page, name), re.MULTILINE))
        assert told == {each for each in modules if each.split("/")[0] not in docs.rooms.GENERATED}


def test_rooms_stand_in_the_order_of_their_layers(docs: ModuleType) -> None:
    part = _part(docs.rooms.page(), "Control plane")
    places = [part.index(f"| **`{room}/`** |") for room in ("servers", "fleet", "flow", "policy", "model")]
    assert places == sorted(places)


def test_a_module_that_does_not_say_what_it_is_for_is_noticed(docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent.py"
    silent.write_text("x = 1\n")
    monkeypatch.setattr(docs.rooms, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"silent\.py doesn't say what it is for"):
        docs.rooms.purpose(silent)


def test_what_an_attacker_cant_do_is_shown_by_a_test_and_what_it_can_has_something_against_it() -> None:
    """That the tests are there, hack/docs.py looks."""
    part = _part((ROOT / "docs/security.md").read_text(), "What an attacker can and can't do")
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith(("| can't |", "| can |"))]
    assert len(rows) > 20
    assert [row for row in rows if row[0] == "can't" and not re.search(r"\.py#test_", row[-1])] == []
    assert [row for row in rows if len(row) != 3] == []


def test_every_reason_of_an_error_has_a_row_and_a_meaning(docs: ModuleType) -> None:
    meanings, _, names = docs.errors_page().partition(docs.ERRORS_NAMES)
    rows = [line.split(" | ") for line in meanings.splitlines() if line.startswith("| `")]
    assert len(rows) == len(docs.BY_REASON) + 1 == len(names.splitlines())
    assert [row[0] for row in rows if len(row[-1].strip(" |")) < 10] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](nowhere.md)", "the link nowhere.md leads nowhere"),
        ("# Here\n[a](#there)", "the link #there names a heading that is not there"),
        ("[a](here.py#test_it)", "the link here.py#test_it names a test that is not there"),
        ("`docs/nothing.md`", "`docs/nothing.md` is not in the repository"),
        ("`make coffee`", "there is no `make coffee`"),
        ("```sh\nmake coffee\n```", "there is no `make coffee`"),
        ("set SNAKEPIT_NONSENSE", "nothing reads SNAKEPIT_NONSENSE"),
    ],
    ids=["link", "heading", "test", "path", "target", "target in a block", "variable"],
)
def test_a_pointer_to_nothing_is_noticed(docs: ModuleType, tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "here.py").write_text("def test_something_else() -> None: ...\n")
    page = tmp_path / "page.md"
    page.write_text(text)
    assert list(docs.problems(page, {"test"}, {"SNAKEPIT_SERVER"})) == [problem]


def test_what_is_there_is_no_problem(docs: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "here.py").write_text("async def test_something() -> None: ...\n")
    page.write_text(
        "# One thing\n\n[t](here.py#test_something) [a](#one-thing) [b](page.md) `docs/*.md` `make test` SNAKEPIT_SERVER https://example.test/"
    )
    assert list(docs.problems(page, {"test"}, {"SNAKEPIT_SERVER"})) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("see docs/nowhere.md", "docs/nowhere.md is not in the repository"),
        ("(docs/caller.md#nothing)", "docs/caller.md#nothing names a heading that is not there"),
        ("Behaviours 12 to 22: sessions", "what is 'Behaviours 12'? Say it in words"),
        ("it can't write (design: rule 13)", "what is 'design: rule 13'? Say it in words"),
        ("the design's §4", 'what is "design\'s §4"? Say it in words'),
        ("by rule 18 of the list", "what is 'rule 18 of'? Say it in words"),
    ],
)
def test_a_page_or_a_list_that_sources_cite_and_that_is_not_there_is_noticed(docs: ModuleType, text: str, problem: str) -> None:
    assert list(docs.citations("sdk/src/snakepit/errors.py", text)) == [problem]


def test_what_sources_cite_and_is_there_is_no_problem(docs: ModuleType) -> None:
    text = "README.md, caller.md, docs/caller.md#what-the-sdk-sends-again, RFC 7541 §6.2.3, `*.md`, rule 1 holds"
    assert list(docs.citations("docs/errors.md", text)) == []


def test_a_variable_that_is_read_and_not_told_is_noticed(docs: ModuleType) -> None:
    assert docs.undocumented("`SNAKEPIT_SERVER`", {"SNAKEPIT_SERVER"}) == []
    assert docs.undocumented("", {"SNAKEPIT_SERVER"}) == ["docs/environment.md: SNAKEPIT_SERVER is read and not told"]
    assert docs.known_variables("*/src/*.py") >= {"SNAKEPIT_SERVER", "SNAKEPIT_AUTH_KEYS", "SNAKEPIT_MAX_NESTING_DEPTH"}


def test_a_long_line_of_prose_is_noticed(docs: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a " * 70 + "\n| " + "b " * 70 + "|\n```\n" + "c " * 70 + "\n```\n")
    assert [problem.split(" has ")[0] for problem in docs.long_lines(page)] == ["line 1"]


def _fields(schema: Any, path: str = "", described: bool = False) -> Iterator[str]:
    """`described`: without those that refer to others, and say nothing themselves."""
    for name, field in schema.get("properties", {}).items():
        if described and "description" not in field:
            continue
        yield f"{path}{name}"
        yield from _fields(field.get("items", {}) if field.get("type") == "array" else field, f"{path}{name}.", described)


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_of_a_pool_is_in_its_reference(part: str) -> None:
    crd = yaml.safe_load((ROOT / "crds/snakepit.dev_snakepools.yaml").read_text())
    fields = set(_fields(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]))
    assert len(fields) > 10
    assert fields <= _told("docs/pool-reference.md")


def test_every_value_of_the_chart_is_in_its_reference() -> None:
    schema = json.loads((ROOT / "charts/snakepit/values.schema.json").read_text())
    values = set(_fields(schema, "", described=True))
    assert len(values) > 50
    assert values <= _told("docs/values-reference.md")


def _names() -> set[str]:
    """Of fields of pools, of their status, and of values of the chart, as sentences have them."""
    crd = yaml.safe_load((ROOT / "crds/snakepit.dev_snakepools.yaml").read_text())
    pool = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    values = json.loads((ROOT / "charts/snakepit/values.schema.json").read_text())
    spec = set(_fields(pool["spec"]))
    return {*spec, *(f"spec.{name}" for name in spec), *(f"status.{name}" for name in _fields(pool["status"])), *_values(values, values)}


def _values(schema: Any, whole: Any, path: str = "") -> Iterator[str]:
    if "$ref" in schema:
        schema = reduce(getitem, schema["$ref"].split("/")[1:], whole)
    for name, value in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from _values(value, whole, f"{path}{name}.")


NAMED = re.compile(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)(?:[:=] ?[^`]*)?`")
OF_OTHERS = re.compile(
    r"(spec\.)?template\.(spec|metadata)\.|.+\.resources\.|tls\.(crt|key)$|session\.(call|state)$|.+\.(py|yaml|json|md)$|image\.digest$"
)
"""Fields of Kubernetes, Python, files, and what several components have."""


def _unknown(text: str, names: set[str]) -> list[str]:
    """What looks like a field or a value by its first part, and is none."""
    first = {name.partition(".")[0] for name in names}
    named = {each for each in NAMED.findall(text) if each.partition(".")[0] in first and not OF_OTHERS.match(each)}
    return sorted(named - names)


@pytest.fixture(scope="module")
def names() -> set[str]:
    return _names()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in ("coming-from-elixir.md", "pool-reference.md") and page.parent.name != "decisions"],
    ids=lambda page: page.name,
)
def test_a_field_or_a_value_that_a_sentence_names_is_there(page: Path, names: set[str]) -> None:
    assert _unknown(page.read_text(), names) == []


def test_a_field_that_is_not_there_is_noticed(names: set[str]) -> None:
    text = "`session.affinity: hint`, `affinity`, `session.ttlSeconds`, `gateway.on=true`, `gateway.enabled=true`, `session.call()`"
    assert _unknown(text, names) == ["gateway.on", "session.affinity"]


def _told(page: str) -> set[str]:
    return {name.replace("[]", "") for name in re.findall(r"^\* \*\*`([^`]+)`", (ROOT / page).read_text(), re.MULTILINE)}


def _named_limits() -> list[str]:
    """What refusals give as `details["limit"]`, out of the sources."""
    folders = ("sdk", "agent", "control-plane", "worker-image")
    text = "".join(path.read_text() for folder in folders for path in sorted((ROOT / folder / "src").rglob("*.py")))
    settings = re.findall(r'"(max\w*(?:PayloadBytes|KeptResultBytes)|session\.max\w+|SNAKEPIT_(?:LARGE_BYTES|MAX_NESTED_CALLS))"', text)
    return sorted({*re.findall(r'"limit": "([\w.]+)"', text), *settings})


def test_every_decision_is_in_the_list_of_them() -> None:
    folder = ROOT / "docs/decisions"
    pages = {page.name for page in folder.glob("2*.md")}
    assert set(re.findall(r"\((2[^)]+\.md)\)", (folder / "README.md").read_text())) == pages


@pytest.mark.parametrize("name", _named_limits())
def test_every_limit_that_a_refusal_names_is_on_the_page_for_operators(name: str) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    limits = page.split("\n### Limits\n")[1].split("\n### ")[0]
    assert f"`{name}`" in limits
