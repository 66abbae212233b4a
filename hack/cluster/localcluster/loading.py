"""Owns the way of an image from buildah's storage into the nodes.

Images are copied into one pool of blobs in the cache, uncompressed, in which they share their layers; one that did not
change is not copied again. A node is sent only the blobs that it does not have, so that a changed image costs its last
layers and not its Debian.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from localcluster import cache, images, network, progress, shell
from localcluster.paths import Paths, State
from localcluster.shell import Failure

IMAGE_NAME = "io.containerd.image.name"
KEPT_MANIFESTS = 20
COPIES_AT_ONCE = 2
Descriptor = dict[str, Any]


def load(paths: Paths, names: list[str]) -> None:
    """Bring images to every node; those that a node has are left alone."""
    with cache.locked(paths.cache / "locks/pool", lambda: progress.say("waiting for another `load`")):
        pool = Pool(paths.cache / "pool")
        with ThreadPoolExecutor(COPIES_AT_ONCE) as threads:
            descriptors = dict(zip(map(images.qualified, names), threads.map(pool.take, names), strict=True))
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda index: _load_node(paths.state, index, pool, descriptors), paths.state.nodes))
        pool.prune()


class Pool:
    """A folder of blobs, named by their digests, and the manifests of the images that they make up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._manifests = root / "manifests"
        self._manifests.mkdir(parents=True, exist_ok=True)
        (root / "blobs").mkdir(exist_ok=True)

    def take(self, name: str) -> Descriptor:
        """Copy an image out of buildah's storage, unless it is here already."""
        source = stored_name(name)
        record = self._manifests / f"{cache.key_of([images.qualified(name)])}.json"
        identifier = images.identifier(source)
        if not self._is_complete(record, identifier):
            if same := next((each for each in self._manifests.iterdir() if self._is_complete(each, identifier)), None):
                self._call(same, record)
            else:
                with progress.step(f"copying {source}"):
                    self._copy(source, record)
        os.utime(record)
        return descriptor_of(record.read_bytes())

    def blobs(self, manifest: Path) -> list[str]:
        content = manifest.read_bytes()
        parts = json.loads(content)
        return [digest_of(content), parts["config"]["digest"], *(layer["digest"] for layer in parts["layers"])]

    def path(self, digest: str) -> Path:
        return self.root / "blobs" / digest.removeprefix("sha256:")

    def prune(self) -> None:
        """Forget the images that were not asked for in a long time, and the blobs that no other needs."""
        records = sorted(self._manifests.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in records[KEPT_MANIFESTS:]:
            old.unlink()
        needed = {self.path(digest) for record in records[:KEPT_MANIFESTS] for digest in self.blobs(record)}
        for path in set((self.root / "blobs").iterdir()) - needed:
            path.unlink()

    def _is_complete(self, record: Path, identifier: str) -> bool:
        if not record.exists() or json.loads(record.read_text())["config"]["digest"] != f"sha256:{identifier}":
            return False
        return all(self.path(digest).exists() for digest in self.blobs(record))

    def _call(self, same: Path, record: Path) -> None:
        """An image that is here has one more name."""
        unfinished = self.root / f".copy-{record.name}"
        shutil.copy(same, unfinished)
        unfinished.rename(record)

    def _copy(self, source: str, record: Path) -> None:
        folder = self.root / f".copy-{record.stem}"
        shutil.rmtree(folder, ignore_errors=True)
        push = ["buildah", "push", "--quiet", "--disable-compression", source, f"dir:{folder}"]
        shell.output(*push, environment=images.environment())
        manifest = folder / "manifest.json"
        shutil.copy(manifest, self.path(digest_of(manifest.read_bytes())))
        for blob in folder.iterdir():
            if blob.name not in {"manifest.json", "version"}:
                blob.rename(self.root / "blobs" / blob.name)
        manifest.rename(record)
        shutil.rmtree(folder)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor_of(manifest: bytes) -> Descriptor:
    return {"mediaType": json.loads(manifest)["mediaType"], "digest": digest_of(manifest), "size": len(manifest)}


def stored_name(name: str) -> str:
    """The name in buildah's storage: a short one may be there as Kubernetes sees it, or as `buildah build` tags it."""
    for candidate in (images.qualified(name), f"localhost/{name}"):
        if images.inspect(candidate):
            return candidate
    raise Failure(f"buildah has no image called {name}. Build it first, for example with `python3 hack/cluster build`.")


def _load_node(state: State, index: int, pool: Pool, wanted: Mapping[str, Descriptor]) -> None:
    ctr = ["ctr", "-a", str(state.containerd_socket(index)), "-n", "k8s.io"]
    there = images_of(shell.output(*ctr, "images", "ls"))
    news = {name: descriptor for name, descriptor in wanted.items() if there.get(name) != descriptor["digest"]}
    if not news:
        progress.say(f"{network.node_name(index)} has them already")
        return
    with progress.step(f"{network.node_name(index)}: {len(news)} image{'s' if len(news) > 1 else ''}"):
        known = set(shell.output(*ctr, "content", "ls", "-q").split())
        _import(ctr, pool, news, known)


def images_of(listing: str) -> dict[str, str]:
    """Name and digest of every image in the output of `ctr images ls`."""
    rows = (line.split() for line in listing.splitlines()[1:])
    return {row[0]: next(word for word in row if word.startswith("sha256:")) for row in rows if row}


def _import(ctr: list[str], pool: Pool, news: Mapping[str, Descriptor], known: set[str]) -> None:
    process = subprocess.Popen([*ctr, "images", "import", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        with process.stdin as pipe:
            write_archive(pipe, pool, news, known)
    except BrokenPipeError:
        pass
    message = process.stderr.read().decode()
    if process.wait() != 0:
        raise Failure(f"`{' '.join(ctr)} images import` failed: {message.strip()}")


def write_archive(target: Any, pool: Pool, news: Mapping[str, Descriptor], known: set[str]) -> None:
    """An OCI archive of these images that leaves out the blobs which are known where it goes."""
    entries = [{**descriptor, "annotations": {IMAGE_NAME: name}} for name, descriptor in news.items()]
    manifests = [pool.path(descriptor["digest"]) for descriptor in news.values()]
    digests = dict.fromkeys(digest for manifest in manifests for digest in pool.blobs(manifest))
    with tarfile.open(fileobj=target, mode="w|") as archive:
        _add(archive, "oci-layout", {"imageLayoutVersion": "1.0.0"})
        _add(archive, "index.json", {"schemaVersion": 2, "manifests": entries})
        _add_blobs(archive, pool, (digest for digest in digests if digest not in known))


def _add(archive: tarfile.TarFile, name: str, content: object) -> None:
    data = json.dumps(content).encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _add_blobs(archive: tarfile.TarFile, pool: Pool, digests: Iterable[str]) -> None:
    for digest in digests:
        archive.add(pool.path(digest), f"blobs/{digest.replace(':', '/')}")
