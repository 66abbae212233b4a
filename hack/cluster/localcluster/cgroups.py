"""Owns the cgroup folders of the nodes: one per node in every controller, and their removal with all below them."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
PREFIX = "snakepit-node-"
REMOVAL_SECONDS = 15.0
INHERITED_CPUSETS = ("cpuset.cpus", "cpuset.mems")


def name(index: int) -> str:
    return f"{PREFIX}{index}"


def is_unified(mount: Path = MOUNT) -> bool:
    """cgroup v2 alone, not v1 with an empty v2 beside it."""
    return (mount / "cgroup.controllers").exists()


def create(index: int, mount: Path = MOUNT) -> None:
    """A kubelet wants its root to exist in every controller before it starts."""
    if is_unified(mount):
        _create_unified(mount / name(index), mount)
        return
    for controller in mount.iterdir():
        if (controller / "cgroup.procs").exists() and controller.name != "unified":
            (controller / name(index)).mkdir(exist_ok=True)
    for file in INHERITED_CPUSETS:
        # Empty in a new v1 folder, and no process can be put in there before it is filled.
        (mount / "cpuset" / name(index) / file).write_text((mount / "cpuset" / file).read_text())


def _create_unified(folder: Path, mount: Path) -> None:
    folder.mkdir(exist_ok=True)
    for parent in (mount, folder):
        controllers = (parent / "cgroup.controllers").read_text().split()
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in controllers))


def existing(prefix: str = PREFIX, mount: Path = MOUNT) -> list[Path]:
    """All folders of nodes, in whichever controller; aliases of a controller are counted once."""
    folders = [*mount.glob(f"{prefix}*"), *mount.glob(f"*/{prefix}*")]
    return sorted({folder.resolve() for folder in folders})


def remove(prefix: str = PREFIX, mount: Path = MOUNT) -> list[Path]:
    """Remove them, deepest first. What a process that is just ending still holds is tried again; returns what is left."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    while left := [folder for folder in existing(prefix, mount) if not _removed(folder)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return left


def _removed(folder: Path) -> bool:
    """Try all of them, so that one that is still held does not keep the others."""
    results = [_rmdir(Path(path)) for path in _deepest_first(folder)]
    return all(results)


def _deepest_first(folder: Path) -> Iterator[str]:
    return (path for path, _, _ in os.walk(folder, topdown=False))


def _rmdir(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
