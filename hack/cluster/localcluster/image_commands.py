"""Owns what the commands do that have images for their subject: `build` and `load`."""

import time
from pathlib import Path

from localcluster import commands, host, images, leftovers, loading, released
from localcluster.paths import Paths


def load(paths: Paths, names: list[str], naming: images.Naming, release: Path | None = None) -> None:
    """Images by their names; without any, all of the project's own: out of a release those that it has, also by its chart's names."""
    commands.require_running(paths.state)
    if names:
        loading.load(paths, loading.stored(names))
        return
    made = released.read(release, paths.checkout).wanted(naming) if release else {}
    others = [naming.of(image.name) for image in images.IMAGES if image.name not in made]
    loading.load(paths, [*made.values(), *loading.stored(others)])


def build(paths: Paths, names: list[str], naming: images.Naming, release: Path | None = None) -> None:
    """What a release has is taken from there, and the others are built upon that."""
    host.prepare(paths)
    there: frozenset[str] = frozenset()
    if release:
        there = released.take(paths, released.read(release, paths.checkout), naming)
    built = images.build(paths, names, naming, there)
    leftovers.remove_old(paths, time.time() - leftovers.KEPT_SECONDS)
    for name in built:
        print(name)
