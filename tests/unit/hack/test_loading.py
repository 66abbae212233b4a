"""How images come to the nodes: each once, with what a node lacks, and what was copied on the way is removed."""

import hashlib
import json
import os
import shutil
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from localcluster import archives, loading, snapshots
from localcluster.archives import Copy
from localcluster.loading import Loading, Manifests, Node, Wanted
from localcluster.paths import State
from localcluster.shell import Failure

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
CHAIN = "sha256:" + hashlib.sha256(f"{OLD} {NEW}".encode()).hexdigest()
NAME = "docker.io/snakepit/agent:dev"

BUILDAH = """#!/bin/sh
# buildah push --quiet --disable-compression IMAGE dir:FOLDER
echo "$4" >>"$BUILDAH_HAS_COPIED"
cp -r "$BUILDAH_HAS" "${5#dir:}"
"""
CTR = """#!/bin/sh
# ctr -a NODE/run/containerd.sock -n k8s.io WHAT ...: writes down what it was told; what it has unpacked is in NODE/files
node=$(dirname "$(dirname "$2")")
shift 4
echo "$*" >>"$node/told"
case "$1 $2" in
"images import") [ ! -e "$node/full" ] || { cat >/dev/null; echo "no space left on device" >&2; exit 1; }; tar -t -f - >>"$node/taken" ;;
"snapshots ls") cat "$node/unpacked" ;;
"snapshots prepare") mkdir "$node/new" && echo '[{"Type": "overlay", "Options": ["lowerdir=/below", "upperdir='"$node"'/new"]}]' ;;
"snapshots view") [ -d "$node/files" ] && echo '[{"Type": "bind", "Source": "'"$node"'/files", "Options": ["ro"]}]' ;;
"snapshots commit") echo "$3 Committed" >>"$node/unpacked" ;;
"images ls") echo "REF TYPE DIGEST SIZE PLATFORMS LABELS" ;;
esac
"""


def image(folder: Path) -> Copy:
    """As buildah writes one."""
    folder.mkdir()
    config = json.dumps({"rootfs": {"diff_ids": [OLD, NEW]}}).encode()
    manifest = {"mediaType": "m", "config": {"digest": archives.digest_of(config)}, "layers": [{"digest": OLD}, {"digest": NEW}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for digest, content in ((archives.digest_of(config), config), (OLD, b"old"), (NEW, b"new")):
        (folder / digest.removeprefix("sha256:")).write_bytes(content)
    return Copy(folder)


def names_in(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=BytesIO(archive)) as written:
        return written.getnames()


def test_an_archive_leaves_out_the_layers_that_are_unpacked(tmp_path: Path) -> None:
    copy, archive = image(tmp_path / "copy"), BytesIO()
    copy.write(archive, [NAME], {OLD})
    manifest, config = (archives.blob(each) for each in (archives.digest_of(copy.manifest), json.loads(copy.manifest)["config"]["digest"]))
    assert names_in(archive.getvalue()) == ["oci-layout", "index.json", manifest, config, archives.blob(NEW)]


def test_a_layer_upon_others_is_another_one(tmp_path: Path) -> None:
    copy, archive = image(tmp_path / "copy"), BytesIO()
    copy.write(archive, [NAME], {NEW})
    assert archives.blob(NEW) in names_in(archive.getvalue())
    assert archives.chains_of([OLD, NEW]) == [OLD, CHAIN]


def test_what_a_node_has_is_read_out_of_its_lists() -> None:
    listing = "REF TYPE DIGEST SIZE PLATFORMS LABELS\nlocalhost/pause:1 application/json sha256:abc 1.4 MiB linux/amd64 x=y\n"
    assert loading.images_of(listing) == {"localhost/pause:1": "sha256:abc"}
    listing = "KEY PARENT KIND\nsha256:a Committed\nsha256:b sha256:a Committed\nof-a-container sha256:b Active\n"
    assert snapshots.chains_in(listing) == {"sha256:a", "sha256:b"}


@pytest.mark.parametrize(
    ("mount", "folder"),
    [
        ({"Type": "bind", "Source": "/1/fs", "Options": ["ro", "rbind"]}, "/1/fs"),
        ({"Type": "overlay", "Source": "overlay", "Options": ["index=off", "lowerdir=/3/fs:/2/fs:/1/fs"]}, "/3/fs"),
        ({"Type": "overlay", "Source": "overlay", "Options": ["workdir=/4/work", "upperdir=/4/fs", "lowerdir=/3/fs:/1/fs"]}, "/4/fs"),
    ],
    ids=["one layer", "the uppermost of some", "one that is made"],
)
def test_where_a_layers_files_are_is_read_out_of_its_mounts(mount: dict[str, object], folder: str) -> None:
    assert snapshots.folder_in(json.dumps([mount])) == Path(folder)


def test_an_image_with_two_names_is_copied_once() -> None:
    assert loading.together([("a", "1"), ("b", "2"), ("c", "1")]) == [Wanted("1", ("a", "c")), Wanted("2", ("b",))]


@dataclass(frozen=True)
class Machine:
    """A folder, and how its two nodes and buildah are found there. Of the image, the nodes have the lower layer."""

    folder: Path

    def node(self, index: int) -> Path:
        return State(self.folder / "state").node(index)

    def loading(self) -> Loading:
        nodes = [Node(State(self.folder / "state"), index) for index in (1, 2)]
        return Loading(Manifests(self.folder / "manifests"), self.folder / "copies", nodes)

    def told(self, index: int) -> list[str]:
        """What changes something."""
        return [line for line in (self.node(index) / "told").read_text().splitlines() if not line.endswith(" ls")]

    def taken(self, index: int) -> list[str]:
        return (self.node(index) / "taken").read_text().split()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name, text in (("buildah", BUILDAH), ("ctr", CTR)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    image(tmp_path / "has")
    machine = Machine(tmp_path)
    for index in (1, 2):
        machine.node(index).mkdir(parents=True)
        (machine.node(index) / "unpacked").write_text(f"KEY PARENT KIND\n{OLD} Committed\n")
    (machine.node(1) / "files").mkdir()
    (machine.node(1) / "files/program").write_text("of the new layer")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BUILDAH_HAS_COPIED", str(tmp_path / "copied"))
    monkeypatch.setenv("BUILDAH_HAS", str(tmp_path / "has"))
    return machine


def test_a_node_keeps_of_an_image_only_what_it_has_unpacked(machine: Machine) -> None:
    machine.loading().bring(Wanted("abc", (NAME,)))
    assert (machine.folder / "copied").read_text() == "abc\n"
    assert machine.told(1)[:2] == ["images import -", "content prune references"]
    assert archives.blob(NEW) in machine.taken(1)
    assert archives.blob(OLD) not in machine.taken(1)
    assert list((machine.folder / "copies").iterdir()) == []


def test_the_other_nodes_have_the_files_of_the_first(machine: Machine) -> None:
    machine.loading().bring(Wanted("abc", (NAME,)))
    assert (machine.node(2) / "new/program").samefile(machine.node(1) / "files/program")
    assert machine.told(2) == [
        f"snapshots prepare --mounts link-{CHAIN} {OLD}",
        f"snapshots commit {CHAIN} link-{CHAIN}",
        "images import -",
        "content prune references",
        f"snapshots label {CHAIN} {snapshots.KEEP}=",
    ]
    assert archives.blob(NEW) not in machine.taken(2)


def test_an_image_that_is_in_a_folder_already_comes_from_there_and_stays(machine: Machine) -> None:
    machine.loading().bring(Wanted("abc", (NAME,), Copy(machine.folder / "has")))
    assert not (machine.folder / "copied").exists()
    assert archives.blob(NEW) in machine.taken(1)
    assert (machine.folder / "has/manifest.json").exists()


def test_a_node_unpacks_by_itself_what_it_cannot_share(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(machine.node(1) / "files")
    machine.loading().bring(Wanted("abc", (NAME,)))
    assert f"node-2 has files of its own of {NAME}" in capsys.readouterr().err
    assert machine.told(2)[1] == f"snapshots rm link-{CHAIN}"
    assert archives.blob(NEW) in machine.taken(2)


def test_what_a_node_has_by_all_names_is_not_even_copied(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, manifest = machine.loading(), Copy(machine.folder / "has").manifest
    loads.manifests.keep("abc", manifest)
    for node in loads.nodes:
        monkeypatch.setattr(node, "_there", {NAME: archives.digest_of(manifest)})
    loads.bring(Wanted("abc", (NAME,)))
    assert not (machine.folder / "copied").exists()
    loads.bring(Wanted("abc", (NAME, "docker.io/snakepit/agent:0.1.0")))
    assert (machine.folder / "copied").exists()


def test_an_image_that_did_not_come_is_not_taken_for_there(machine: Machine) -> None:
    (machine.node(1) / "full").touch()
    with pytest.raises(Failure, match="no space left on device"):
        machine.loading().bring(Wanted("abc", (NAME,)))
    assert machine.told(1)[-1] == f"images rm {NAME}"
    assert list((machine.folder / "copies").iterdir()) == []


def test_of_manifests_the_last_ones_are_kept(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path)
    for at in range(loading.KEPT_MANIFESTS + 3):
        manifests.keep(f"{at}", b'{"mediaType": "m"}')
        os.utime(tmp_path / f"{at}.json", (at, at))
    manifests.prune()
    assert len(list(tmp_path.iterdir())) == loading.KEPT_MANIFESTS
    assert manifests.of("2") is None
    assert manifests.of("3") is not None
