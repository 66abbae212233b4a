"""A worker's own temporary folder: how it comes to be where temporary files are, and how it is removed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from snakepit_worker import scratch
from snakepit_worker.scratch import Scratch


@pytest.mark.parametrize(("asked", "after"), [("{root}", None), ("/of/the/author", "/of/the/author")], ids=["by the import", "set"])
def test_what_an_import_was_told_is_asked_anew_and_what_it_has_set_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, after: str | None
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", asked.format(root=tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    scratch.enter(str(tmp_path / "worker"))
    assert tempfile.tempdir == after
    assert os.environ["TMPDIR"] == str(tmp_path / "worker")


def test_without_a_folder_of_its_own_a_worker_has_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/of/the/container")
    scratch.enter("")
    assert os.environ["TMPDIR"] == "/of/the/container"
    assert Scratch().make("abc") == ""


def test_what_leads_out_of_a_folder_is_left_alone(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir(mode=0o500)
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/link").symlink_to(outside)
    (folder / "inner").chmod(0)
    scratch.remove(folder)
    assert not folder.exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_a_link_that_a_worker_has_put_in_its_folders_place_goes_and_what_it_leads_to_is_left_alone(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    (outside / "inner").mkdir(parents=True, mode=0o500)
    folder.symlink_to(outside)
    scratch.remove(folder)
    assert not folder.is_symlink()
    assert (outside / "inner").stat().st_mode & 0o777 == 0o500


def test_a_tree_too_deep_to_be_removed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(sys.getrecursionlimit()):
        os.mkdir("d", dir_fd=inner)  # Its path would be too long.
        outer, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    try:
        scratch.remove(folder)
    finally:
        subprocess.run(["rm", "-r", folder], check=True)  # Which can, as it asks for no paths. pytest couldn't either.
    assert f"can't all be removed: {folder}" in caplog.text
