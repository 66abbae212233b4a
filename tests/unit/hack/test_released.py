"""What of a release's folder the cluster takes in the place of images that it would build."""

import json
import subprocess
from pathlib import Path

import pytest
from localcluster import archives, released
from localcluster.images import Naming
from localcluster.shell import Failure

DIGEST, CONFIGURATION = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    own = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "-C", folder, *own, "commit", "-q", "--allow-empty", "-m", "it"], check=True)
    return folder


def head(checkout: Path) -> str:
    return subprocess.check_output(["git", "-C", checkout, "rev-parse", "HEAD"], text=True).strip()


def dist(folder: Path, commit: str) -> Path:
    (folder / "oci/blobs/sha256").mkdir(parents=True)
    (folder / "release.json").write_text(json.dumps({"commit": commit, "version": "1.2.3", "images": {"agent": DIGEST}}))
    (folder / "oci/blobs" / DIGEST.replace(":", "/")).write_text(json.dumps({"config": {"digest": CONFIGURATION}}))
    return folder


def test_an_image_of_a_release_is_known_by_what_its_manifest_says_and_called_as_its_chart_calls_it(checkout: Path, tmp_path: Path) -> None:
    made = released.read(dist(tmp_path / "dist", head(checkout)), checkout)
    assert made.identifier("agent") == "b" * 64
    assert made.own_name("agent") == "docker.io/snakepit/agent:1.2.3"


def test_nodes_have_an_image_out_of_the_release_by_both_its_names(checkout: Path, tmp_path: Path) -> None:
    made = released.read(dist(tmp_path / "dist", head(checkout)), checkout)
    wanted = made.wanted(Naming())["agent"]
    assert wanted.names == ("docker.io/snakepit/agent:dev", "docker.io/snakepit/agent:1.2.3")
    assert wanted.copy is not None
    assert archives.descriptor_of(wanted.copy.manifest)["mediaType"] == archives.OCI
    assert wanted.copy.path(DIGEST).exists()


def test_a_release_of_another_commit_is_refused(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"is of cccccccccccc, and .* is checked out: `make release` makes one of that"):
        released.read(dist(tmp_path / "dist", "c" * 40), checkout)


def test_a_folder_without_a_release_says_what_makes_one(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"no release in .*: `make release` puts one into dist/"):
        released.read(tmp_path, checkout)
