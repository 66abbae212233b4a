"""Owns how much room on its disks something is measured to need, and what is said where there is less. What is said is pure."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from localcluster.shell import Failure

NODES_BARE_MEGABYTES = 140
"""Of two nodes without an image but the pause image: measured, as all of these are."""
NODES_MEGABYTES = 1500
"""With all of the project's images: they are unpacked once."""
COPIES_MEGABYTES = 600
"""Of the two largest images, while they are on their way to the nodes."""
BUILT_MEGABYTES = 900
"""Of the base, and all images upon it that nodes don't have out of a release, in buildah's storage."""
BUILT_AGAIN_MEGABYTES = 700
"""Beside what they take the place of, which goes when they are all built."""


@dataclass(frozen=True)
class Need:
    """So many megabytes of something, in a folder that may have to be made yet."""

    what: str
    folder: Path
    megabytes: int


@dataclass(frozen=True)
class Disk:
    """What has a folder: which file system, and how many megabytes of it are free."""

    device: int
    free: int


def disk_of(folder: Path) -> Disk:
    """That of the folder, or of where it will be made."""
    there = next(each for each in (folder, *folder.absolute().parents) if _is_there(each))
    of = os.statvfs(there)
    return Disk(there.stat().st_dev, of.f_bavail * of.f_frsize // 1_000_000)


def _is_there(folder: Path) -> bool:
    """What may not be looked at, as buildah's storage is root's, is like what isn't there."""
    return os.access(folder, os.F_OK)


def shortages(needs: Iterable[Need], disk: Callable[[Path], Disk] = disk_of) -> list[str]:
    """A sentence for each file system that has less room than what needs it, together."""
    together: dict[int, list[Need]] = {}
    free: dict[int, int] = {}
    for need in needs:
        found = disk(need.folder)
        together.setdefault(found.device, []).append(need)
        free[found.device] = found.free
    return [_said(each, free[device]) for device, each in together.items() if sum(need.megabytes for need in each) > free[device]]


def _said(needs: list[Need], free: int) -> str:
    parts = ", ".join(f"{need.what} {_gigabytes(need.megabytes)} in {need.folder}" for need in needs)
    return f"{_gigabytes(sum(need.megabytes for need in needs))} are needed and {_gigabytes(free)} are free: {parts}"


def _gigabytes(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB"


def of_a_cluster(state: Path, cache: Path, storage: Path) -> list[Need]:
    """What its nodes and images need."""
    built = BUILT_AGAIN_MEGABYTES if _is_there(storage) else BUILT_MEGABYTES
    return [
        Need("the nodes", state, NODES_MEGABYTES),
        Need("copies of images on their way to the nodes", cache, COPIES_MEGABYTES),
        Need("images that are built", storage, built),
    ]


def refuse_the_impossible(state: Path, disk: Callable[[Path], Disk] = disk_of) -> None:
    """Where not even bare nodes have room. Raises Failure."""
    free = disk(state).free
    if free < NODES_BARE_MEGABYTES:
        raise Failure(f"The nodes need {NODES_BARE_MEGABYTES} MB in {state} before they have any image, and {free} MB are free.")
