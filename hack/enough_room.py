"""Says early where a run of .ci/run has less room than it was measured to need, and then gives back what our own caches can spare.

    python hack/enough_room.py

It refuses nothing: it may be that less is enough.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE / "cluster")]
import tools_cache  # noqa: E402
from localcluster import binaries, images, leftovers, paths, progress, room  # noqa: E402
from localcluster.room import Need  # noqa: E402

CHECKOUT = HERE.parent
ENVIRONMENTS = {".venv": 1900, ".venv-docs": 180, ".venv-build": 30, ".venv-release": 80}
OWN_MEGABYTES = 400
"""dist/, the site, and what lint and tests remember."""
RELEASE_MEGABYTES = 1600
"""Images of a release that is made, the stages of their builds, and a registry: gone before the cluster starts."""
GO_MEGABYTES = 4500
"""Modules, compiled packages and programs, where nothing is built yet."""


def stages() -> list[list[Need]]:
    """What is needed while a release is made, and while the cluster runs. What is there already counts for nothing."""
    where = paths.from_environment()
    stay = [Need(name, CHECKOUT / name, size) for name, size in ENVIRONMENTS.items() if not (CHECKOUT / name).exists()]
    stay.append(Need("dist/ and what tests write", CHECKOUT, OWN_MEGABYTES))
    if not list(where.cache.glob(f"{binaries.KIND}-*")):
        stay.append(Need("Go's modules and builds", where.cache, GO_MEGABYTES))
    making = Need("a release that is made", Path(tempfile.gettempdir()), RELEASE_MEGABYTES)
    return [[*stay, making], [*stay, *room.of_a_cluster(where.state.root, where.cache, images.STORAGE)]]


def shortages() -> list[str]:
    """Each once, the largest need first."""
    return list(dict.fromkeys(said for needs in reversed(stages()) for said in room.shortages(needs)))


def spare() -> None:
    """What nobody has used for an hour can be built again."""
    for each in tools_cache.prune(time.time(), kept=1):
        progress.say(f"removed {each}")
    try:
        leftovers.remove_old(paths.from_environment(), time.time() - tools_cache.IN_USE_SECONDS, most=None)
    except OSError as error:  # Without buildah, or root, there are none.
        progress.say(f"images of earlier builds are not looked at: {error}")


def main() -> None:
    if shortages():
        spare()
    for said in shortages():
        progress.say(f"a run may not have enough room: {said}")


if __name__ == "__main__":
    main()
