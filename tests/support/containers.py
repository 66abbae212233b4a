"""Processes in containers, as the machine of hack/cluster sees them: what can't be harmed from inside, PID 1 above all, is found here."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def process_of(pod: dict[str, Any], word: str) -> int:
    """The id, seen from here, of the pod's process with that word in its command line; the first one of several."""
    found = sorted(int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _is_of(folder, pod["metadata"]["uid"], word))
    assert found, f"no process {word} of {pod['metadata']['name']}"
    return found[0]


def _is_of(folder: Path, uid: str, word: str) -> bool:
    try:
        # A cgroup of systemd's has the uid with underscores.
        cgroups = (folder / "cgroup").read_text().replace("_", "-")
        return uid in cgroups and word.encode() in (folder / "cmdline").read_bytes()
    except OSError:
        return False  # it has ended meanwhile
