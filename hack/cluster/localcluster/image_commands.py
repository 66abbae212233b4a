"""Owns what the commands do that have images for their subject: `build` and `load`."""

from pathlib import Path

from localcluster import commands, host, images, loading, released
from localcluster.paths import Paths


def load(paths: Paths, names: list[str], naming: images.Naming, release: Path | None = None) -> None:
    """Images by their names; without any, all of the project's own, those of a release also by the names that its chart has."""
    commands.require_running(paths.state)
    made = released.read(release, paths.checkout) if release else None
    own = [made.own_name(image) for image in made.digests] if made else []
    loading.load(paths, names or [*(naming.of(image.name) for image in images.IMAGES), *own])


def build(paths: Paths, names: list[str], naming: images.Naming, release: Path | None = None) -> None:
    """What a release has is taken from there, and the others are built upon that."""
    host.prepare(paths)
    there: frozenset[str] = frozenset()
    if release:
        there = released.take(paths, released.read(release, paths.checkout), naming)
    for name in images.build(paths, names, naming, there):
        print(name)
