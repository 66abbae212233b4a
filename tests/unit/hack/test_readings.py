"""What the program reads out of the answers of others: pip, ctr, DNS and the API server."""

import configparser
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from localcluster import api, host_settings, loading


def test_what_the_environment_says_to_pip_comes_over_its_files() -> None:
    listing = ":env:.timeout='9'\nglobal.timeout='5'\nglobal.index-url='https://index.example/simple'\n"
    assert host_settings.settings_of(listing) == {"timeout": "9", "index-url": "https://index.example/simple"}


def test_a_build_gets_the_index_and_the_certificate_but_no_local_folders() -> None:
    settings = {"index-url": "https://index.example/simple", "find-links": "/opt/wheels", "cert": "/somewhere/ca.pem"}
    parsed = configparser.ConfigParser()
    parsed.read_string(host_settings.pip_configuration(settings))
    assert dict(parsed["global"]) == {"index-url": "https://index.example/simple", "cert": host_settings.AUTHORITY_INSIDE}


def test_a_list_of_pip_settings_stays_a_list() -> None:
    parsed = configparser.ConfigParser()
    parsed.read_string(host_settings.pip_configuration({"extra-index-url": "\nhttps://a.example\nhttps://b.example"}))
    assert parsed["global"]["extra-index-url"].split() == ["https://a.example", "https://b.example"]


def test_images_of_a_node_are_read_with_their_digests() -> None:
    listing = "REF TYPE DIGEST SIZE PLATFORMS LABELS\nlocalhost/pause:1 application/json sha256:abc 1.4 MiB linux/amd64 x=y\n"
    assert loading.images_of(listing) == {"localhost/pause:1": "sha256:abc"}


def node(name: str, ready: str) -> dict[str, Any]:
    return {"kind": "Node", "metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_a_node_counts_only_when_it_says_that_it_is_ready() -> None:
    items = [node("a", "True"), node("b", "Unknown"), {"metadata": {"name": "c"}, "status": {}}]
    assert api.nodes_that_are_ready({"items": items}) == {"a"}


@pytest.mark.parametrize(("since", "back"), [(0.0, True), (4e9, False)], ids=["renewed since", "renewed before"])
def test_a_node_is_back_when_its_lease_was(since: float, back: bool) -> None:
    lease = {"kind": "Lease", "spec": {"renewTime": "2026-01-01T00:00:00.000001Z"}}
    assert api.is_node_back({"items": [node("a", "True"), lease]}, since) is back


def test_a_dns_question_has_its_labels_with_their_lengths() -> None:
    assert api.dns_query("a.example")[12:] == b"\x01a\x07example\x00\x00\x01\x00\x01"


def test_an_archive_leaves_out_what_the_node_has(tmp_path: Path) -> None:
    pool = loading.Pool(tmp_path)
    manifest = b'{"mediaType": "m", "config": {"digest": "sha256:config"}, "layers": [{"digest": "sha256:old"}, {"digest": "sha256:new"}]}'
    descriptor = loading.descriptor_of(manifest)
    pool.path(descriptor["digest"]).write_bytes(manifest)
    for blob in ("config", "old", "new"):
        pool.path(f"sha256:{blob}").write_text(blob)
    archive = BytesIO()
    loading.write_archive(archive, pool, {"docker.io/snakepit/agent:dev": descriptor}, known={"sha256:old"})
    with tarfile.open(fileobj=BytesIO(archive.getvalue())) as written:
        names = written.getnames()
    digest = descriptor["digest"].removeprefix("sha256:")
    assert names == ["oci-layout", "index.json", f"blobs/sha256/{digest}", "blobs/sha256/config", "blobs/sha256/new"]


def test_blobs_that_no_image_needs_are_removed(tmp_path: Path) -> None:
    pool = loading.Pool(tmp_path)
    manifest = b'{"config": {"digest": "sha256:config"}, "layers": []}'
    (tmp_path / "manifests/image.json").write_bytes(manifest)
    for blob in ("config", "left-over"):
        pool.path(f"sha256:{blob}").touch()
    pool.prune()
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == ["config"]
