"""How many replicas of a release `--kube` reaches, and what is to be said of that beside figures. Pure."""

from __future__ import annotations

OF_ONE_REPLICA = "through kubectl's forward, figures are of one replica of the control plane"


class Reach:
    """Filled in while there are forwards: so many replicas are `reached` of so many that are `ready`; `problem`: why not all are."""

    def __init__(self) -> None:
        self.reached = self.ready = 1
        self.problem = ""

    @property
    def remark(self) -> str:
        """Empty: figures are of every replica."""
        if self.reached >= self.ready and not self.problem:
            return ""
        few = OF_ONE_REPLICA
        if self.ready > 1:
            few = f"through kubectl's forwards, figures are of {self.reached} of {self.ready} replicas of the control plane"
        return f"{few}: {self.problem}" if self.problem else few
