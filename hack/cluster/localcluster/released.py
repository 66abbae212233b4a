"""Owns the images of a release that `make release` has made: they come to the nodes as they are, and are called as those that are built
here. So a cluster runs on exactly what is released. What others are built upon comes into buildah's storage, too.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcluster import images, progress, shell
from localcluster.archives import Copy
from localcluster.images import Naming
from localcluster.loading import Wanted
from localcluster.paths import Paths
from localcluster.shell import Failure


@dataclass(frozen=True)
class Release:
    """A folder as docs/releasing.md has it; `digests` has the images' manifests by the images' names."""

    folder: Path
    version: str
    digests: dict[str, str]

    def own_name(self, image: str) -> str:
        """As its chart calls that image."""
        return Naming(tag=self.version).of(image)

    def identifier(self, image: str) -> str:
        """What buildah knows it by: the hash of its configuration, without the algorithm's name."""
        return self._copy(image).config.removeprefix("sha256:")

    def wanted(self, naming: Naming) -> dict[str, Wanted]:
        """What a node is to have of it, by the images' names."""
        return {
            image: Wanted(self.identifier(image), (naming.of(image), self.own_name(image)), self._copy(image)) for image in self.digests
        }

    def _copy(self, image: str) -> Copy:
        return Copy(self.folder / "oci/blobs/sha256", self.digests[image])


def read(folder: Path, checkout: Path) -> Release:
    """Raises Failure where there is none, or one of something else than what is checked out."""
    if not (folder / "release.json").exists():
        raise Failure(f"There is no release in {folder}: `make release` puts one into dist/.")
    said: dict[str, Any] = json.loads((folder / "release.json").read_text())
    commit = shell.output("git", "-C", checkout, "rev-parse", "HEAD").strip()
    if said["commit"] != commit:
        made = said["commit"][:12]
        raise Failure(f"The release in {folder} is of {made}, and {commit[:12]} is checked out: `make release` makes one of that.")
    return Release(folder, said["version"], said["images"])


def take(paths: Paths, release: Release, naming: Naming) -> frozenset[str]:
    """Take what others are built upon. Returns what of images.IMAGES needs no building any more: nodes have it out of the release."""
    with images.alone(paths):
        for image in release.digests:
            if any(each.parent == image for each in images.IMAGES):
                _take(release, image, naming.of(image))
            else:
                _leave(release, image, naming)
    return frozenset(release.digests)


def _leave(release: Release, image: str, naming: Naming) -> None:
    """What is here of an earlier release is of no more use."""
    before = images.identifier(release.own_name(image))
    if before and images.identifier(naming.of(image)) == before:
        images.forget(naming.of(image))
    images.forget(before and release.own_name(image))


def _take(release: Release, image: str, name: str) -> None:
    before, wanted = images.identifier(name), release.identifier(image)
    if before == wanted:
        progress.say(f"{name}: that of the release, unchanged")
        return
    with progress.step(f"{name} out of the release"):
        if not images.inspect(wanted):
            layout = f"oci:{release.folder / 'oci'}:{image}-{release.version}"
            shell.output("buildah", "pull", "--quiet", layout, environment=images.environment())
        shell.output("buildah", "tag", wanted, name, environment=images.environment())
    if images.identifier(name) != wanted:
        raise Failure(f"{name} came as {images.identifier(name)} out of the release, which has {wanted}.")
    images.forget(before)
