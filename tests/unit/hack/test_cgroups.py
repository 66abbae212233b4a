"""The cgroup folders of the nodes, on folders that only look like cgroups."""

from pathlib import Path

import pytest
from localcluster import cgroups


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for controller in ("cpuset", "memory", "unified"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-1")
    (tmp_path / "cpuset/cpuset.mems").write_text("0")
    return tmp_path


def test_a_node_has_a_folder_in_every_controller_and_a_filled_cpuset(version_1: Path) -> None:
    cgroups.create(1, version_1)
    assert (version_1 / "memory/snakepit-node-1").is_dir()
    assert (version_1 / "cpuset/snakepit-node-1/cpuset.cpus").read_text() == "0-1"
    assert not (version_1 / "unified/snakepit-node-1").exists()


def test_on_version_2_a_node_has_one_folder_with_every_controller_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "snakepit-node-1").mkdir()
    (tmp_path / "snakepit-node-1/cgroup.controllers").write_text("cpu memory")
    cgroups.create(1, tmp_path)
    assert (tmp_path / "snakepit-node-1/cgroup.subtree_control").read_text() == "+cpu +memory"


def test_removing_takes_all_below_and_nothing_beside(version_1: Path) -> None:
    (version_1 / "memory/snakepit-node-2/kubepods/pod-a").mkdir(parents=True)
    (version_1 / "memory/other").mkdir()
    assert cgroups.remove(mount=version_1) == []
    assert cgroups.existing(mount=version_1) == []
    assert (version_1 / "memory/other").is_dir()


def test_an_alias_of_a_controller_is_counted_once(version_1: Path) -> None:
    (version_1 / "memory/snakepit-node-1").mkdir()
    (version_1 / "mem").symlink_to("memory")
    assert len(cgroups.existing(mount=version_1)) == 1


def test_removing_one_node_leaves_the_other(version_1: Path) -> None:
    (version_1 / "memory/snakepit-node-1").mkdir()
    (version_1 / "memory/snakepit-node-2").mkdir()
    cgroups.remove("snakepit-node-1", version_1)
    assert [folder.name for folder in cgroups.existing(mount=version_1)] == ["snakepit-node-2"]
