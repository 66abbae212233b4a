"""How images come to the nodes: each once, with what a node lacks, and what was copied on the way is removed."""

import hashlib
import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from localcluster import archives, loading
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
# ctr -a SOCKET -n k8s.io WHAT ...: writes down what it was told, and keeps the names in the archive that it is given
[ -n "$CTR_FAILS" ] && [ "$5 $6" = "images import" ] && { cat >/dev/null; echo "no space left on device" >&2; exit 1; }
echo "$5 $6 $7" >>"$CTR_WAS_TOLD"
case "$5 $6" in
"images import") tar -t -f - >>"$CTR_HAS_TAKEN" ;;
"snapshots ls") cat "$CTR_HAS_UNPACKED" ;;
*) echo "REF TYPE DIGEST SIZE PLATFORMS LABELS" ;;
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
    assert loading.snapshots_of(listing) == {"sha256:a", "sha256:b"}


def test_an_image_with_two_names_is_copied_once() -> None:
    assert loading.together([("a", "1"), ("b", "2"), ("c", "1")]) == [Wanted("1", ("a", "c")), Wanted("2", ("b",))]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which buildah and containerd write down what they were told; buildah has one image."""
    for name, text in (("buildah", BUILDAH), ("ctr", CTR)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    image(tmp_path / "has")
    (tmp_path / "unpacked").write_text(f"KEY PARENT KIND\n{OLD} Committed\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for variable, name in (("BUILDAH_HAS_COPIED", "copied"), ("CTR_WAS_TOLD", "told"), ("CTR_HAS_TAKEN", "taken"), ("CTR_FAILS", "")):
        monkeypatch.setenv(variable, str(tmp_path / name) if name else "")
    monkeypatch.setenv("BUILDAH_HAS", str(tmp_path / "has"))
    monkeypatch.setenv("CTR_HAS_UNPACKED", str(tmp_path / "unpacked"))
    return tmp_path


def node_and_loading(folder: Path) -> tuple[Node, Loading]:
    node = Node(State(folder / "state"), 1)
    return node, Loading(Manifests(folder / "manifests"), folder / "copies", [node])


def test_a_node_keeps_of_an_image_only_what_it_has_unpacked(told: Path) -> None:
    _, loads = node_and_loading(told)
    loads.bring(Wanted("abc", (NAME,)))
    assert (told / "copied").read_text() == "abc\n"
    assert archives.blob(OLD) not in (told / "taken").read_text().split()
    assert (told / "told").read_text().splitlines()[1:] == ["snapshots ls ", "images import -", "content prune references"]
    assert list((told / "copies").iterdir()) == []


def test_what_a_node_has_by_all_names_is_not_even_copied(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, loads = node_and_loading(told)
    manifest = Copy(told / "has").manifest
    loads.manifests.keep("abc", manifest)
    monkeypatch.setattr(node, "_there", {NAME: archives.digest_of(manifest)})
    loads.bring(Wanted("abc", (NAME,)))
    assert not (told / "copied").exists()
    loads.bring(Wanted("abc", (NAME, "docker.io/snakepit/agent:0.1.0")))
    assert (told / "copied").exists()


def test_an_image_that_did_not_come_is_not_taken_for_there(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, loads = node_and_loading(told)
    monkeypatch.setenv("CTR_FAILS", "1")
    with pytest.raises(Failure, match="no space left on device"):
        loads.bring(Wanted("abc", (NAME,)))
    assert (told / "told").read_text().splitlines()[-1] == f"images rm {NAME}"


def test_of_manifests_the_last_ones_are_kept(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path)
    for at in range(loading.KEPT_MANIFESTS + 3):
        manifests.keep(f"{at}", b'{"mediaType": "m"}')
        os.utime(tmp_path / f"{at}.json", (at, at))
    manifests.prune()
    assert len(list(tmp_path.iterdir())) == loading.KEPT_MANIFESTS
    assert manifests.of("2") is None
    assert manifests.of("3") is not None
