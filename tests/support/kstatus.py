"""kstatus' rules for a kind that it doesn't know, as sigs.k8s.io/cli-utils has them: by them helm, Flux and kpt wait."""

from __future__ import annotations

from typing import Any


def kstatus(pool: dict[str, Any]) -> str:
    """Current, InProgress, Failed or Terminating."""
    metadata, status = pool["metadata"], pool.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "InProgress" if conditions.get("Ready", "True") != "True" else "Current"
