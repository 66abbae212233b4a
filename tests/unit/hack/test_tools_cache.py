"""Of tools that are built once, those that somebody may want are kept, and no more."""

import os
from pathlib import Path

import go_tools
import pytest
import tools_cache

NOW = 1_000_000.0
DAY = 86_400.0
A, B, C = "0123456789abcdef", "1123456789abcdef", "2123456789abcdef"


def test_of_each_name_the_two_that_were_used_last_are_kept() -> None:
    used = {f"go-client-{A}": 3 * DAY, f"go-client-{B}": 1 * DAY, f"go-client-{C}": 2 * DAY, f"mcp-client-{A}": 0.0}
    assert tools_cache.unwanted(used, NOW) == [f"go-client-{B}"]


def test_versions_and_hashes_of_one_tool_count_together_and_names_that_begin_alike_do_not() -> None:
    used = {"cosign-v3.1.3": 1.0, f"cosign-{A}": 2.0, f"metrics-server-v0.8.0-{A}": 3.0, "metrics-server-v0.9.0": 4.0}
    used |= {"helm-v4.1.4": 1.0, "helm-3-v3.22.0": 2.0, "helm-docs-v1.14.2": 3.0, f"cosign-kms-{A}": 4.0}
    assert tools_cache.unwanted(used, NOW) == []
    assert tools_cache.unwanted(used | {f"cosign-{B}": 3.0, f"metrics-server-{B}": 9.0}, NOW) == [
        f"metrics-server-v0.8.0-{A}",
        "cosign-v3.1.3",
    ]


def test_what_another_checkout_uses_now_is_kept() -> None:
    used = {f"go-client-{A}": NOW, f"go-client-{B}": NOW - 1, f"go-client-{C}": NOW - tools_cache.IN_USE_SECONDS}
    assert tools_cache.unwanted(used, NOW) == []
    assert tools_cache.unwanted(used, NOW + 1) == [f"go-client-{C}"]


def test_what_is_no_tool_is_left_alone() -> None:
    assert tools_cache.unwanted({"lock": 0.0, "tmpabc": 0.0, "somebody-elses": 0.0, ".removed-x": 0.0}, NOW) == []


def test_what_a_killed_build_left_goes_and_one_that_goes_on_stays() -> None:
    assert tools_cache.unwanted({"tmpabcdefg1": 0.0, "tmp_bcdefg2": NOW - 1}, NOW) == ["tmpabcdefg1"]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with three of one tool, used one after another, and a lock beside them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "snakepit-tools"
    for at, each in enumerate((A, B, C)):
        (folder / f"oras-{each}").mkdir(parents=True)
        (folder / f"oras-{each}/oras").touch(mode=0o755)
        os.utime(folder / f"oras-{each}", (at, at))
    (folder / "go-client.lock").touch()
    return folder


def test_what_nobody_wants_is_removed_with_what_a_killed_removal_left(tools: Path) -> None:
    (tools / f".removed-1-oras-{A}/half").mkdir(parents=True)
    assert tools_cache.prune(NOW) == [tools / f"oras-{A}"]
    assert {each.name for each in tools.iterdir()} == {f"oras-{B}", f"oras-{C}", "go-client.lock"}


def test_a_tool_that_is_asked_for_counts_as_used(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORAS", str(tools / f"oras-{A}/oras"))
    assert go_tools.find(go_tools.TOOLS["oras"]) == tools / f"oras-{A}/oras"
    tools_cache.prune(NOW)
    assert {each.name for each in tools.glob("oras-*")} == {f"oras-{A}", f"oras-{C}"}


def test_without_a_cache_there_is_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert tools_cache.prune(NOW) == []


def test_a_cache_of_somebody_elses_is_used_and_left_as_it_is(tools: Path, nobody: None) -> None:
    tools_cache.use(tools / f"oras-{A}/oras")
    assert tools_cache.prune(NOW) == []


def test_what_a_build_that_is_killed_leaves_is_unwanted_an_hour_later(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "go").write_text('#!/bin/sh\necho "$GOTMPDIR" >"$0.said"; exit 1\n')
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(go_tools.NoTool):
        go_tools.build(go_tools.TOOLS["kwok"])
    where = Path((tmp_path / "go.said").read_text().strip())
    assert where.parent == tools
    assert tools_cache.unwanted({where.name: NOW - 3601}, NOW) == [where.name]
