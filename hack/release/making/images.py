"""Owns the images of a release: built from nothing, in a store of buildah's that has nothing of an earlier build."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcluster import host_settings, images, paths, progress, shell

from making.source import Source

REPOSITORY = "snakepit"
LICENCE = "Apache-2.0"
ANNOTATION = "org.opencontainers.image"


@dataclass(frozen=True)
class Base:
    """What all of them are built on, as buildah writes it into each."""

    name: str
    digest: str


class Store:
    """A store of images in a folder. `environment` is that in which buildah means it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        settings = folder / "storage.conf"
        settings.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
        self.environment = {**images.environment(), "CONTAINERS_STORAGE_CONF": str(settings)}

    def buildah(self, *words: str | Path) -> str:
        return shell.output("buildah", *words, environment=self.environment)

    def inspect(self, name: str) -> dict[str, Any]:
        """What buildah knows about an image that is here."""
        return dict(json.loads(self.buildah("inspect", "--type", "image", name)))

    def base_of(self, name: str) -> Base:
        """What an image of ours was built on."""
        said = self.inspect(name)["ImageAnnotations"]
        return Base(said[f"{ANNOTATION}.base.name"], said[f"{ANNOTATION}.base.digest"])

    def base(self, wanted: str) -> str:
        """The name of an image of the registries that is here now, or without one of what hack/cluster has made of Debian."""
        if wanted:
            self.buildah("pull", "--quiet", wanted)
            return wanted
        made = images.build_base(paths.from_environment())
        layout = f"oci:{self.folder / 'base'}:base"
        shell.output("buildah", "push", "--quiet", "--disable-compression", made, layout, environment=images.environment())
        pulled = self.buildah("pull", "--quiet", layout).strip()
        self.buildah("tag", pulled, made)
        return made

    def build(self, source: Source, name: str, base: str, log: Path) -> str:
        """The name of what was built."""
        image, tag = images.BY_NAME[name], local_name(source.version, name)
        with progress.step(f"image {name}"), host_settings.for_pip() as volumes:
            command = images.build_command(source.folder, image, tag, [f"--build-arg=PYTHON_IMAGE={base}"], volumes, options(source, name))
            shell.logged(command, log, environment={**os.environ, **self.environment, **source.clock})
        return tag

    def push(self, name: str, target: str) -> str:
        """Its digest there. `target`: as buildah calls a place, a registry without TLS, for example."""
        said = self.folder / "digest"
        self.buildah("push", "--quiet", "--tls-verify=false", f"--digestfile={said}", name, target)
        return said.read_text().strip()


def local_name(version: str, name: str) -> str:
    """In the store; it has the form of a registry's, so that nobody looks for it in one."""
    return f"localhost/{REPOSITORY}/{name}:{version}"


def options(source: Source, name: str) -> list[str]:
    """What else a release's build says: one date for all files and layers, OCI's format, and where it comes from."""
    said = {"title": f"{REPOSITORY}-{name}", "version": source.version, "revision": source.commit, "licenses": LICENCE}
    labels = [f"--label={ANNOTATION}.{key}={value}" for key, value in said.items()]
    return [f"--timestamp={source.seconds}", "--format=oci", *labels]
