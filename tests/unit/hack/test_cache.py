"""What the cache of builds promises: the same input is built once, and a build that broke off never counts."""

from pathlib import Path

import pytest
from localcluster import cache


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/one.py").write_text("one")
    (tmp_path / "two.txt").write_text("two")
    return tmp_path


def test_lists_that_join_to_the_same_text_have_different_keys() -> None:
    assert cache.key_of(["ab", "c"]) != cache.key_of(["a", "bc"])


def test_the_same_files_in_another_checkout_have_the_same_key(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "package").mkdir()
    (other / "package/one.py").write_text("one")
    assert cache.key_of_files(tree, ["package"]) == cache.key_of_files(other, ["package"])


@pytest.mark.parametrize(
    "path",
    ["package/one.py", "package/new.py", "two.txt"],
    ids=["a changed file", "a new file", "a file that is named itself"],
)
def test_a_key_changes_with(tree: Path, path: str) -> None:
    before = cache.key_of_files(tree, ["package", "two.txt"])
    (tree / path).write_text("other")
    assert cache.key_of_files(tree, ["package", "two.txt"]) != before


def test_a_key_changes_when_a_file_becomes_executable(tree: Path) -> None:
    before = cache.key_of_files(tree, ["package"])
    (tree / "package/one.py").chmod(0o755)
    assert cache.key_of_files(tree, ["package"]) != before


@pytest.mark.parametrize("rubbish", ["__pycache__/one.pyc", "one.pyc", "x.egg-info/PKG-INFO", ".venv/bin/python"])
def test_a_key_does_not_change_with(tree: Path, rubbish: str) -> None:
    before = cache.key_of_files(tree, ["package"])
    (tree / "package" / rubbish).parent.mkdir(parents=True, exist_ok=True)
    (tree / "package" / rubbish).write_text("rubbish")
    assert cache.key_of_files(tree, ["package"]) == before


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "result").write_text("done")

    entries = [cache.entry(tmp_path, "thing", "key", make) for _ in range(2)]
    assert len(made) == 1
    assert [(entry / "result").read_text() for entry in entries] == ["done", "done"]


def test_a_build_that_broke_off_is_not_an_entry_and_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    def breaks(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.entry(tmp_path, "thing", "key", breaks)
    entry = cache.entry(tmp_path, "thing", "key", lambda folder: (folder / "whole").touch())
    assert [path.name for path in entry.iterdir()] == ["whole"]


def test_only_the_last_entries_of_a_kind_are_kept(tmp_path: Path) -> None:
    for key in ("first", "second", "third"):
        cache.entry(tmp_path, "thing", key, lambda folder: None)
    assert len(list(tmp_path.glob("thing-*"))) == cache.KEPT_ENTRIES
    assert (tmp_path / "thing-third").exists()


def test_whoever_finds_a_lock_taken_says_so_before_waiting(tmp_path: Path) -> None:
    class Waiting(Exception):
        pass

    def give_up() -> None:
        raise Waiting

    with cache.locked(tmp_path / "lock"), pytest.raises(Waiting), cache.locked(tmp_path / "lock", give_up):
        pass
