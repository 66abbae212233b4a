"""The tools that a pool's usable capsules offer, counted, so that a capsule that comes, goes or beats costs its own tools only. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from snakepit.v1 import common_pb2

if TYPE_CHECKING:
    from snakepit_control_plane.model.capsule import Capsule


class Toolset:
    """`tools` by name, as offered last; they are remembered while nobody offers any. `uniform`: everybody offers all of them."""

    def __init__(self) -> None:
        self.tools: dict[str, common_pb2.Tool] = {}
        self.uniform = True
        self._offers: dict[Capsule, Mapping[str, common_pb2.Tool]] = {}
        self._counts: Counter[str] = Counter()

    def offer(self, capsule: Capsule, tools: Mapping[str, common_pb2.Tool]) -> None:
        """Replace what the capsule offers; with no tools it offers nothing. The mapping must not be changed afterwards."""
        before = self._offers.get(capsule)
        if before is tools or (before is None and not tools):
            return
        if before is not None:
            del self._offers[capsule]
            self._counts.subtract(before.keys())
        if tools:
            self._offers[capsule] = tools
            self._counts.update(tools.keys())
        if self._offers:
            self._keep(tools)

    def _keep(self, latest: Mapping[str, common_pb2.Tool]) -> None:
        self.tools.update(latest)
        self._counts = +self._counts
        for name in self.tools.keys() - self._counts.keys():
            del self.tools[name]
        self.uniform = all(count == len(self._offers) for count in self._counts.values())
