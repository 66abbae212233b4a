"""Owns the way of an image from buildah's storage into the nodes.

All images go through one OCI layout in the cache, in which they share their layers. A node is sent only the blobs that it
does not have, so that a changed image costs its last layers and not its Debian.
"""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from localcluster import cache, images, network, progress, shell
from localcluster.paths import Paths, State
from localcluster.shell import Failure

REFERENCE = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
Descriptor = dict[str, Any]


def load(paths: Paths, names: list[str]) -> None:
    """Bring images to every node; those that a node has are left alone."""
    with cache.locked(paths.cache / "locks/layout"):
        layout = Layout(paths.cache / "layout")
        descriptors = {images.qualified(name): layout.take(name) for name in names}
        with ThreadPoolExecutor() as threads:
            nodes = range(1, network.NODES + 1)
            list(threads.map(lambda index: _load_node(paths.state, index, layout, descriptors), nodes))
        layout.prune()


class Layout:
    """An OCI image layout: a folder of blobs, and an index of the images that they make up."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def take(self, name: str) -> Descriptor:
        """Copy an image out of buildah's storage; layers that are here already are not read again."""
        source, reference = stored_name(name), cache.key_of([images.qualified(name)])
        shell.output(
            *("buildah", "push", "--quiet", "--disable-compression", "--format=oci"),
            *(source, f"oci:{self.root}:{reference}"),
            environment=images.environment(),
        )
        return next(entry for entry in self._index() if entry["annotations"][REFERENCE] == reference)

    def blobs(self, descriptor: Descriptor) -> list[str]:
        """All that an image consists of, its manifest first."""
        manifest = json.loads(self.path(descriptor["digest"]).read_text())
        return [descriptor["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]

    def path(self, digest: str) -> Path:
        return self.root / "blobs" / digest.replace(":", "/")

    def prune(self) -> None:
        """Remove the blobs that no image of the index needs any more."""
        needed = {self.path(digest) for entry in self._index() for digest in self.blobs(entry)}
        for path in (self.root / "blobs").glob("*/*"):
            if path not in needed:
                path.unlink()

    def _index(self) -> list[Descriptor]:
        return list(json.loads((self.root / "index.json").read_text())["manifests"])


def stored_name(name: str) -> str:
    """The name in buildah's storage: a short one may be there as Kubernetes sees it, or as `buildah build` tags it."""
    for candidate in (images.qualified(name), f"localhost/{name}"):
        if images.inspect(candidate):
            return candidate
    raise Failure(f"buildah has no image called {name}. Build it first, for example with `python3 hack/cluster build`.")


def _load_node(state: State, index: int, layout: Layout, wanted: Mapping[str, Descriptor]) -> None:
    ctr = ["ctr", "-a", str(state.containerd_socket(index)), "-n", "k8s.io"]
    there = images_of(shell.output(*ctr, "images", "ls"))
    news = {name: descriptor for name, descriptor in wanted.items() if there.get(name) != descriptor["digest"]}
    if not news:
        progress.say(f"{network.node_name(index)} has them already")
        return
    with progress.step(f"{network.node_name(index)}: {', '.join(news)}"):
        known = set(shell.output(*ctr, "content", "ls", "-q").split())
        _import(ctr, layout, news, known)


def images_of(listing: str) -> dict[str, str]:
    """Name and digest of every image in the output of `ctr images ls`."""
    rows = (line.split() for line in listing.splitlines()[1:])
    return {row[0]: next(word for word in row if word.startswith("sha256:")) for row in rows if row}


def _import(ctr: list[str], layout: Layout, news: Mapping[str, Descriptor], known: set[str]) -> None:
    process = subprocess.Popen([*ctr, "images", "import", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    try:
        with process.stdin as pipe:
            write_archive(pipe, layout, news, known)
    except BrokenPipeError:
        pass
    message = process.stderr.read().decode()
    if process.wait() != 0:
        raise Failure(f"`{' '.join(ctr)} images import` failed: {message.strip()}")


def write_archive(target: Any, layout: Layout, news: Mapping[str, Descriptor], known: set[str]) -> None:
    """An OCI archive of these images that leaves out the blobs which are known where it goes."""
    entries = [{**descriptor, "annotations": {IMAGE_NAME: name}} for name, descriptor in news.items()]
    digests = dict.fromkeys(digest for descriptor in news.values() for digest in layout.blobs(descriptor))
    with tarfile.open(fileobj=target, mode="w|") as archive:
        _add(archive, "oci-layout", {"imageLayoutVersion": "1.0.0"})
        _add(archive, "index.json", {"schemaVersion": 2, "manifests": entries})
        _add_blobs(archive, layout, (digest for digest in digests if digest not in known))


def _add(archive: tarfile.TarFile, name: str, content: object) -> None:
    data = json.dumps(content).encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _add_blobs(archive: tarfile.TarFile, layout: Layout, digests: Iterable[str]) -> None:
    for digest in digests:
        archive.add(layout.path(digest), f"blobs/{digest.replace(':', '/')}")
