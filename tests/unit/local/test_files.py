"""Pool files on disk, and what is shown of a pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakepit.client import ToolInfo
from snakepit.spec import InvalidPool
from snakepit_local.files import broken, read_pools, sources
from snakepit_local.report import example, example_over_http
from support.dev_server import pool_file


def test_a_pool_keeps_its_uid_and_gets_the_next_generation(tmp_path: Path) -> None:
    path = pool_file(tmp_path, "digits", "digits.tools:Digits")
    (first,), (second,) = read_pools([path], 1), read_pools([path], 2)
    assert first.name == "default/digits"
    assert first.pool.metadata.uid == second.pool.metadata.uid != ""
    assert first.pool.metadata.generation < second.pool.metadata.generation
    assert first.folder == tmp_path


def test_all_problems_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    one = pool_file(tmp_path, "one", "a.b:C", replicas="-1")
    two = pool_file(tmp_path, "two", "a.b:C", affinity="sticky")
    with pytest.raises(InvalidPool) as caught:
        read_pools([one, two], 1)
    assert len(caught.value.problems) == 2
    assert "one.yaml" in caught.value.problems[0]
    assert "two.yaml" in caught.value.problems[1]


def test_one_pool_in_two_files_is_refused(tmp_path: Path) -> None:
    path = pool_file(tmp_path, "one", "a.b:C")
    with pytest.raises(InvalidPool, match="default/one is there twice"):
        read_pools([path, path], 1)


def test_rules_over_several_fields_are_checked(tmp_path: Path) -> None:
    path = pool_file(tmp_path, "one", "a.b:C", worker="profile: thread, processes: 3")
    with pytest.raises(InvalidPool):
        read_pools([path], 1)


def test_changed_new_and_deleted_sources_are_seen_and_environments_are_not(tmp_path: Path) -> None:
    code = tmp_path / "package" / "a.py"
    code.parent.mkdir()
    code.write_text("x = 1\n")
    for hidden in (".git/b.py", "env/pyvenv.cfg", "env/lib/c.py", "package/__pycache__/d.py"):
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hidden).write_text("")
    before = sources(tmp_path)
    assert list(before) == [code]
    assert sources(tmp_path) == before
    code.write_text("x = 22\n")
    assert sources(tmp_path)[code] != before[code]
    code.unlink()
    assert sources(tmp_path) == {}


def test_a_broken_source_is_named_with_its_line(tmp_path: Path) -> None:
    fine, odd, null = tmp_path / "fine.py", tmp_path / "odd.py", tmp_path / "null.py"
    fine.write_text("x = 1\n")
    odd.write_text("x = 1\ndef f(:\n")
    null.write_bytes(b"\0")
    assert broken([fine, tmp_path / "gone.py"]) == ""
    assert broken([fine, odd]) == "odd.py, line 2: invalid syntax"
    assert "null" in broken([null])


def _tool(name: str, required: dict[str, str], *, streaming: bool = False) -> ToolInfo:
    schema = {"properties": {key: {"type": type_} for key, type_ in required.items()}, "required": list(required)}
    return ToolInfo(name, "", schema, {}, streaming, idempotent=False, timeout_seconds=0)


def test_the_command_to_try_is_one_that_is_short_to_type() -> None:
    tools = [_tool("classify", {"image": "array"}), _tool("count", {"to": "integer"}, streaming=True), _tool("held_out", {})]
    assert example("127.0.0.1:7800", "default/digits", tools) == "snakepit call default/digits count to=3 --stream"
    assert example("127.0.0.1:7900", "a/b", tools[2:]) == "snakepit call a/b held_out --server 127.0.0.1:7900"


def test_an_argument_without_an_annotation_is_shown_as_text() -> None:
    tools = [ToolInfo("greet", "", {"properties": {"name": {}}, "required": ["name"]}, {}, False, idempotent=False, timeout_seconds=0)]
    assert example("127.0.0.1:7800", "a/b", tools) == "snakepit call a/b greet name=text"
    assert example_over_http("http://x", "a/b", tools) == """curl http://x/v1/pools/a/b/tools/greet --json '{"name": "text"}'"""


def test_the_path_of_a_file_as_an_adapter_is_told_in_its_right_form(tmp_path: Path) -> None:
    with pytest.raises(InvalidPool) as caught:
        read_pools([pool_file(tmp_path, "one", "app/tools.py:App")], 1)
    (said,) = caught.value.problems
    assert said.endswith('(did you mean "app.tools:App"?)')
