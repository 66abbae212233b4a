"""Owns what builds leave in buildah's storage: images without a name, by which the next build is quick, and which nobody else removes."""

import json
from collections.abc import Sequence
from typing import Any

from localcluster import images, progress, shell
from localcluster.paths import Paths
from localcluster.shell import Failure

KEPT_SECONDS = 86400.0
MOST_REMOVED = 50
"""At a time: each takes a moment."""


def remove_old(paths: Paths, before: float, most: int | None = MOST_REMOVED) -> None:
    """Remove what builds before that time have left that has no name: stages and layers, by which the next build was quick.

    Where they can't be listed, as another program removes an image meanwhile, they are left to the next one: no build fails for that.
    """
    with images.alone(paths):
        try:
            told = json.loads(shell.output("buildah", "images", "--all", "--json", environment=images.environment()))
        except Failure as failure:
            progress.say(f"images of earlier builds are not looked at: {failure}")
            return
        if left := nameless(told, before)[:most]:
            variables = (f"{name}={value}" for name, value in images.ENVIRONMENT.items())
            shell.succeeds("env", *variables, "buildah", "rmi", *left)  # One in use stays.


def nameless(told: Sequence[dict[str, Any]], before: float) -> list[str]:
    """Images without a name that are older, the oldest first."""
    found = [each for each in told if not each["names"] and each["created"] < before]
    return [each["id"] for each in sorted(found, key=lambda each: float(each["created"]))]
