"""Owns the way of an image from buildah's storage into the nodes.

An image is copied out of that storage, taken by the nodes that lack it, and its copy is removed: on a node stays what was unpacked, and
nothing else. A node is sent only the layers that it hasn't unpacked, so that a changed image costs its last layers and not its Debian. The
first node unpacks them, and the others have the same files.
"""

import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcluster import cache, images, network, progress, shell
from localcluster.archives import Copy, Descriptor, descriptor_of
from localcluster.paths import Paths, State
from localcluster.shell import Failure
from localcluster.snapshots import Snapshots

KEPT_MANIFESTS = 100
COPIES_AT_ONCE = 2


def load(paths: Paths, wanted: list["Wanted"]) -> None:
    """Bring images to every node; those that a node has are left alone."""
    with cache.locked(paths.cache / "locks/pool", lambda: progress.say("waiting for another `load`")):
        loading = Loading(
            Manifests(paths.cache / "manifests"), paths.cache / "copies", [Node(paths.state, each) for each in paths.state.nodes]
        )
        _remove_remains(paths.cache)
        first, *others = wanted
        loading.bring(first)  # Alone: what the others share with it, they find there.
        with ThreadPoolExecutor(COPIES_AT_ONCE) as threads:
            list(threads.map(loading.bring, others))
        loading.manifests.prune()


def _remove_remains(folder: Path) -> None:
    """Of a `load` that was killed, and of those of before, which kept every layer."""
    for each in ("copies", "pool"):
        shutil.rmtree(folder / each, ignore_errors=True)


@dataclass(frozen=True)
class Wanted:
    """One image by all the names that it is wanted by. `identifier`: its own hash; `copy`: where it is, else it is in buildah's storage."""

    identifier: str
    names: tuple[str, ...]
    copy: Copy | None = None


def stored(names: Iterable[str]) -> list[Wanted]:
    """Images in buildah's storage. Raises Failure where one isn't there."""
    return together((name, images.identifier(stored_name(name))) for name in names)


def together(named: Iterable[tuple[str, str]]) -> list[Wanted]:
    """Names with the identifiers of their images: each image once, in the order of the first names."""
    found: dict[str, list[str]] = {}
    for name, identifier in named:
        found.setdefault(identifier, []).append(name)
    return [Wanted(identifier, tuple(names)) for identifier, names in found.items()]


def stored_name(name: str) -> str:
    """The name in buildah's storage: a short one may be there as Kubernetes sees it, or as `buildah build` tags it."""
    for candidate in (images.qualified(name), f"localhost/{name}"):
        if images.inspect(candidate):
            return candidate
    raise Failure(f"buildah has no image called {name}. Build it first, for example with `python3 hack/cluster build`.")


class Manifests:
    """What an image's manifest was when it was copied: by that a node names what it has, so that nothing is copied to compare."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, identifier: str) -> Descriptor | None:
        record = self._folder / f"{identifier}.json"
        return descriptor_of(record.read_bytes()) if record.exists() else None

    def keep(self, identifier: str, manifest: bytes) -> None:
        unfinished = self._folder / f".{identifier}"
        unfinished.write_bytes(manifest)
        unfinished.rename(self._folder / f"{identifier}.json")

    def prune(self) -> None:
        """A few kilobytes each; one that is missing costs a copy."""
        records = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in records[KEPT_MANIFESTS:]:
            old.unlink()


@dataclass(frozen=True)
class Loading:
    """`folder`: where copies are for as long as it takes."""

    manifests: Manifests
    folder: Path
    nodes: Sequence["Node"]

    def bring(self, wanted: Wanted) -> None:
        """Bring one image to each node that lacks it by one of its names."""
        names = tuple(map(images.qualified, wanted.names))
        descriptor = descriptor_of(wanted.copy.manifest) if wanted.copy else self.manifests.of(wanted.identifier)
        lacking = [node for node in self.nodes if descriptor is None or not node.has(names, descriptor)]
        if not lacking:
            progress.say(f"{wanted.names[0]}: every node has it")
            return
        with progress.step(f"{wanted.names[0]} to {' and '.join(node.name for node in lacking)}"), self._copy_of(wanted) as copy:
            first = self.nodes[0]
            if first in lacking:
                first.take(copy, names)
            for node in lacking:
                if node is not first:
                    node.share(first, copy, names)

    @contextmanager
    def _copy_of(self, wanted: Wanted) -> Iterator[Copy]:
        """Where it is already, or a copy that is there for as long as it is needed."""
        if wanted.copy:
            yield wanted.copy
            return
        copy = Copy(self.folder / wanted.identifier)
        copy.folder.parent.mkdir(exist_ok=True)
        push = ["buildah", "push", "--quiet", "--disable-compression", wanted.identifier, f"dir:{copy.folder}"]
        try:
            shell.output(*push, environment=images.environment())
            self.manifests.keep(wanted.identifier, copy.manifest)
            yield copy
        finally:
            shutil.rmtree(copy.folder, ignore_errors=True)


class Node:
    """What its containerd has, and how it comes to have more: one image at a time, as what takes away may take what comes."""

    def __init__(self, state: State, index: int) -> None:
        self.name = network.node_name(index)
        self._ctr = ["ctr", "-a", str(state.containerd_socket(index)), "-n", "k8s.io"]
        self._there = images_of(shell.output(*self._ctr, "images", "ls"))
        self.snapshots = Snapshots(self._ctr)
        self._alone = threading.Lock()

    def has(self, names: Iterable[str], descriptor: Descriptor) -> bool:
        return all(self._there.get(name) == descriptor["digest"] for name in names)

    def take(self, copy: Copy, names: Sequence[str]) -> None:
        """Import it, unpack it, and forget its packed layers: nothing reads them again, and they are as large as what was unpacked."""
        with self._alone:
            self._import(copy, names)

    def share(self, other: "Node", copy: Copy, names: Sequence[str]) -> None:
        """Have the files that another node has unpacked of it."""
        with self._alone:
            try:
                came = self.snapshots.share(other.snapshots, copy.chains)
            except Failure as failure:
                progress.say(f"{self.name} has files of its own of {names[0]}: {failure}")
                came = []
            self._import(copy, names)
            self.snapshots.release(came)

    def _import(self, copy: Copy, names: Sequence[str]) -> None:
        unpacked = self.snapshots.unpacked()
        try:
            shell.fed([*self._ctr, "images", "import", "-"], lambda pipe: copy.write(pipe, names, unpacked))
        except Failure:
            shell.succeeds(*self._ctr, "images", "rm", *names)  # It may be named before it is unpacked.
            raise
        shell.output(*self._ctr, "content", "prune", "references")


def images_of(listing: str) -> dict[str, str]:
    """Name and digest of every image in the output of `ctr images ls`."""
    rows = (line.split() for line in listing.splitlines()[1:])
    return {row[0]: next(word for word in row if word.startswith("sha256:")) for row in rows if row}
