"""Which of the processes that run tests gets which file: xdist's `loadfile`, but for those files that compute all the time."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

COMPUTES = ("tests/soak/", "tests/hostile/", "tests/simulation/", "tests/fuzz/")
"""Folders whose files want a whole processor all the time. Most others wait for programs, and leave most of one idle."""


class Sharing(LoadFileScheduling):
    """One process at a time has files that compute, beside others that wait: all at once would be slow, and later processors idle."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if any(self._computes(other) for other in self.nodes if other is not node):
            waits = next((file for file in self.workqueue if not file.startswith(COMPUTES)), None)
            if waits is not None:
                self.workqueue.move_to_end(waits, last=False)
        super()._assign_work_unit(node)

    def _computes(self, node: WorkerController) -> bool:
        """Whether it has a test of such a file to run."""
        return any(file.startswith(COMPUTES) and not all(tests.values()) for file, tests in self.assigned_work[node].items())
