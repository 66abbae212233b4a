"""Owns what containerd is given of an image: an OCI archive, without the layers that it has unpacked already."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

IMAGE_NAME = "io.containerd.image.name"
OCI = "application/vnd.oci.image.manifest.v1+json"
"""What a manifest is that doesn't say it."""
Descriptor = dict[str, Any]


@dataclass(frozen=True)
class Copy:
    """An image in a folder of blobs that are called by their hashes: a `dir:` of buildah, or a layout, in which it has a digest."""

    folder: Path
    digest: str = ""

    @cached_property
    def manifest(self) -> bytes:
        return (self.path(self.digest) if self.digest else self.folder / "manifest.json").read_bytes()

    def path(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def write(self, target: Any, names: Sequence[str], unpacked: AbstractSet[str]) -> None:
        """An archive by these names. `unpacked`: the chains of layers that are there."""
        entries = [{**descriptor_of(self.manifest), "annotations": {IMAGE_NAME: name}} for name in names]
        with tarfile.open(fileobj=target, mode="w|") as archive:
            _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
            _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
            _add(archive, blob(digest_of(self.manifest)), self.manifest)
            for digest in [self.config, *self._missing(unpacked)]:
                archive.add(self.path(digest), blob(digest))

    @property
    def config(self) -> str:
        """The digest of its configuration."""
        return str(json.loads(self.manifest)["config"]["digest"])

    @property
    def chains(self) -> list[str]:
        """What containerd calls its layers, from the lowest up."""
        return chains_of(json.loads(self.path(self.config).read_bytes())["rootfs"]["diff_ids"])

    def _missing(self, unpacked: AbstractSet[str]) -> Iterator[str]:
        layers = [each["digest"] for each in json.loads(self.manifest)["layers"]]
        return (layer for layer, chain in zip(layers, self.chains, strict=True) if chain not in unpacked)


def chains_of(differences: Sequence[str]) -> list[str]:
    """What containerd calls each layer together with all below it, out of the hashes of the layers."""
    chains: list[str] = []
    for each in differences:
        chains.append(digest_of(f"{chains[-1]} {each}".encode()) if chains else each)
    return chains


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor_of(manifest: bytes) -> Descriptor:
    return {"mediaType": json.loads(manifest).get("mediaType", OCI), "digest": digest_of(manifest), "size": len(manifest)}


def blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
