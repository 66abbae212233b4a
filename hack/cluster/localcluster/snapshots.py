"""Owns what a node has unpacked of images, and how another node comes to have the same files: by links, so that they are on the disk once.

What is unpacked is never written to: containers have folders of their own above it. So nodes on one disk can share each file.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from localcluster import shell
from localcluster.shell import Failure

KEEP = "containerd.io/gc.root"
"""The label that `ctr` gives a snapshot, so that it isn't removed before an image needs it."""


class Snapshots:
    """Of one node. `ctr`: the command that speaks to its containerd. Layers are called as `archives.chains_of` has it."""

    def __init__(self, ctr: Sequence[str]) -> None:
        self._ctr = [*ctr, "snapshots"]

    def unpacked(self) -> frozenset[str]:
        return chains_in(self._said("ls"))

    def share(self, source: "Snapshots", chains: Sequence[str]) -> list[str]:
        """Have all layers of an image, from the lowest up, that `source` has; what came. Raises Failure."""
        there, came = self.unpacked(), []
        for parent, chain in zip(["", *chains], chains, strict=False):
            if chain not in there:
                self._link(source, parent, chain)
                came.append(chain)
        return came

    def release(self, chains: Sequence[str]) -> None:
        """The image that they are of is there: with it they may go."""
        for chain in chains:
            self._said("label", chain, f"{KEEP}=")

    def _link(self, source: "Snapshots", parent: str, chain: str) -> None:
        made = f"link-{chain}"
        try:
            ours = self._said("prepare", "--mounts", made, *filter(None, [parent]))
            shell.output("cp", "--archive", "--link", f"{source.folder_of(chain)}/.", folder_in(ours))
            self._said("commit", chain, made)
        except Failure:
            self._gone(made)
            raise

    def folder_of(self, chain: str) -> Path:
        """Where the files of that layer are. Raises Failure."""
        looked_at = f"look-{chain}"
        self._gone(looked_at)  # It stays of a `load` that was killed.
        mounts = self._said("view", "--mounts", looked_at, chain)
        self._gone(looked_at)
        return folder_in(mounts)

    def _gone(self, name: str) -> None:
        """Also where containerd has removed it by itself, as it does now and then with what no image needs."""
        shell.succeeds(*self._ctr, "rm", name)

    def _said(self, *words: str) -> str:
        return shell.output(*self._ctr, *words)


def chains_in(listing: str) -> frozenset[str]:
    """What is unpacked, by the output of `ctr snapshots ls`."""
    rows = (line.split() for line in listing.splitlines()[1:])
    return frozenset(row[0] for row in rows if row and row[-1] == "Committed")


def folder_in(mounts: str) -> Path:
    """Where the files of the uppermost layer are, by the mounts of a snapshot, which say it in one of three ways."""
    mount = json.loads(mounts)[0]
    if mount["Type"] == "bind":
        return Path(mount["Source"])
    options = dict(option.partition("=")[::2] for option in mount["Options"])
    return Path(options.get("upperdir") or options["lowerdir"].split(":")[0])
