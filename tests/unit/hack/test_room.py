"""Where a disk has less room than what is known to be needed, a sentence says it before anything long begins."""

import os
from pathlib import Path

import enough_room
import pytest
from localcluster import leftovers, paths, room
from localcluster.room import Disk, Need
from localcluster.shell import Failure

NODES, COPIES = Need("the nodes", Path("/var/lib/nodes"), 1500), Need("copies", Path("/root/.cache"), 600)


def test_what_is_on_one_disk_is_needed_together() -> None:
    said = room.shortages([NODES, COPIES], lambda folder: Disk(1, 2000))
    assert said == ["2.1 GB are needed and 2.0 GB are free: the nodes 1.5 GB in /var/lib/nodes, copies 0.6 GB in /root/.cache"]


def test_what_has_room_on_disks_of_their_own_is_not_spoken_of() -> None:
    assert room.shortages([NODES, COPIES], lambda folder: Disk(len(folder.parts), 1500)) == []
    assert room.shortages([NODES, COPIES], lambda folder: Disk(1, 2100)) == []


def test_a_folder_that_has_to_be_made_yet_is_on_the_disk_of_what_is_above_it(tmp_path: Path) -> None:
    assert room.disk_of(tmp_path / "not/there/yet").device == tmp_path.stat().st_dev
    assert room.disk_of(tmp_path).free > 0


def test_a_cluster_is_refused_where_it_can_have_no_room() -> None:
    room.refuse_the_impossible(Path("/var/lib/nodes"), lambda folder: Disk(1, room.NODES_BARE_MEGABYTES))
    with pytest.raises(Failure, match=r"need 140 MB in /var/lib/nodes before they have any image, and 139 MB are free"):
        room.refuse_the_impossible(Path("/var/lib/nodes"), lambda folder: Disk(1, 139))


def test_images_of_builds_that_are_long_past_go_the_oldest_first_and_named_ones_stay() -> None:
    told = [{"id": "new", "names": None, "created": 30}, {"id": "b", "names": None, "created": 20}, {"id": "a", "names": [], "created": 10}]
    assert leftovers.nameless([*told, {"id": "named", "names": ["x"], "created": 1}], before=25) == ["a", "b"]


def test_a_build_does_not_fail_for_images_that_can_not_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "buildah").write_text("#!/bin/sh\necho image not known >&2; exit 125\n")
    (tmp_path / "buildah").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    leftovers.remove_old(paths.from_environment({"SNAKEPIT_CLUSTER_CACHE": str(tmp_path)}), before=0.0)
    assert "images of earlier builds are not looked at: " in (said := capsys.readouterr().err)
    assert said.endswith("image not known\n")


def test_a_run_needs_room_for_what_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enough_room, "CHECKOUT", tmp_path)
    monkeypatch.setenv("SNAKEPIT_CLUSTER_CACHE", str(tmp_path / "cache"))
    assert [need.what for need in enough_room.stages()[0]] == [
        *enough_room.ENVIRONMENTS,
        "dist/ and what tests write",
        "Go's modules and builds",
        "a release that is made",
    ]
    (tmp_path / ".venv").mkdir()
    (tmp_path / "cache/binaries-0123456789abcdef").mkdir(parents=True)
    assert not {".venv", "Go's modules and builds"} & {need.what for needs in enough_room.stages() for need in needs}
    assert "the nodes" in {need.what for need in enough_room.stages()[1]}


def test_a_folder_that_may_not_be_looked_into_is_as_one_that_has_to_be_made_yet(tmp_path: Path, nobody: None) -> None:
    """buildah's storage is root's, and who runs the tests on a cluster that is there needs not be root."""
    assert room.disk_of(tmp_path / "storage").free > 0
    assert room.BUILT_MEGABYTES in {need.megabytes for need in room.of_a_cluster(tmp_path, tmp_path, tmp_path / "storage")}
