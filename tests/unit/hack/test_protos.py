"""What would break a running fleet is noticed before it lands."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest

from support.scripts import imported

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def protos() -> ModuleType:
    return imported(ROOT / "hack/protos.py")


@pytest.fixture(scope="module")
def released(protos: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As if today's contract had been released."""
    folder = tmp_path_factory.mktemp("released")
    protos.release("today", folder)
    return folder


def test_the_contract_breaks_no_release(protos: ModuleType, released: Path) -> None:
    assert protos.breaking() == []
    assert protos.breaking(released=released) == []


@pytest.mark.parametrize(
    ("file", "before", "after", "told"),
    [
        ("link", "string call_id = 2;", "string identifier = 2;", 'from "call_id" to "identifier"'),
        ("link", "string call_id = 2;", "string call_id = 40;", 'Previously present field "2"'),
        ("link", "uint64 index = 1;", "string index = 1;", 'from "uint64" to "string"'),
        ("router", "  rpc Execute(ExecuteRequest) returns (ExecuteResponse);", "", 'Previously present RPC "Execute"'),
        ("common", "AFFINITY_HINT = 1;", "AFFINITY_ANY = 1;", 'from "AFFINITY_HINT" to "AFFINITY_ANY"'),
    ],
    ids=["a renamed field", "a field with another number", "another type", "a removed RPC", "a renamed enum value"],
)
def test_a_change_that_would_break_a_running_fleet_is_named(
    protos: ModuleType, released: Path, tmp_path: Path, file: str, before: str, after: str, told: str
) -> None:
    changed = tmp_path / "proto"
    shutil.copytree(protos.PROTO, changed)
    path = changed / f"snakepit/v1/{file}.proto"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    found = protos.breaking(changed, released)
    assert any(told in sentence for sentence in found), found


def test_before_the_first_release_anything_may_change(protos: ModuleType, tmp_path: Path) -> None:
    assert protos.breaking(released=tmp_path / "nothing") == []
