"""What was read of each pool last, for as long as nobody has said that anything of it has changed since. It reads nothing itself.

Only what needs no deed is concluded from it: whatever is to be done is decided again, by fresh lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from snakepit_operator.model import PodView
from snakepit_operator.observe import Found


class Snapshot(Struct, frozen=True):
    """A pool and its pods, of one moment; of each pod, who deletes it is not said yet."""

    found: Found
    pods: tuple[PodView, ...]


class Snapshots:
    """By the pool's name, `namespace/name`."""

    def __init__(self) -> None:
        self._kept: dict[str, Snapshot] = {}
        self._versions: dict[str, str] = {}
        """Of each pool, as the watch told them last. One that we have written ourselves is in the snapshot already."""
        self._stirred: set[str] = set()
        """Pools of which something has changed that no version says, such as a pod."""

    def changed(self, name: str, version: str) -> None:
        """The watch has said so; `version` is the pool's new resourceVersion, empty where something else than the pool has changed."""
        if version:
            self._versions[name] = version
        else:
            self._stirred.add(name)

    def get(self, name: str) -> Snapshot | None:
        """The snapshot; None: there is none, or something has changed since."""
        kept = self._kept.get(name)
        if kept is None or name in self._stirred or self._versions.get(name, kept.found.version) != kept.found.version:
            return None
        return kept

    def forget(self, name: str) -> None:
        """The pool is about to be read, and all that was said of it until now will be seen; or it is gone, or another's."""
        self._kept.pop(name, None)
        self._versions.pop(name, None)
        self._stirred.discard(name)

    def keep(self, name: str, snapshot: Snapshot) -> None:
        self._kept[name] = snapshot

    def before(self) -> Mapping[str, Snapshot]:
        """For `listed`, when a list begins."""
        return dict(self._kept)

    def listed(self, snapshots: Iterable[tuple[str, Snapshot]], before: Mapping[str, Snapshot]) -> None:
        """Everything was listed; what was read meanwhile is as new."""
        for name, snapshot in snapshots:
            if self._kept.get(name) is before.get(name):
                self._kept[name] = snapshot
