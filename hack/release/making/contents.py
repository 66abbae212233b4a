"""Owns the files that tell what a release has: release.json, images.yaml for helm, and SHA256SUMS. Pure but for reading."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from making.images import Base
from making.source import Source

SUMS = "SHA256SUMS"
UNSUMMED = frozenset({"cosign.pub", SUMS, f"{SUMS}.sigstore.json"})
"""Beside the folder `oci`, whose parts are named by their digests, which release.json has."""
VALUES = {
    "agent": ("agent", "image"),
    "control-plane": ("controlPlane", "image"),
    "operator": ("operator", "image"),
    "gateway": ("gateway", "image"),
    "cli": ("test", "image"),
    "worker": ("test", "workerImage"),
}
"""Where the chart's values have the digest of an image."""


def values(digests: Mapping[str, str]) -> str:
    """A file of values, in JSON, which is YAML, too: each image by its digest."""
    made: dict[str, dict[str, object]] = {}
    for name, (component, field) in VALUES.items():
        made.setdefault(component, {})[field] = {"digest": digests[name]}
    return json.dumps(made, indent=2) + "\n"


def record(source: Source, base: Base, digests: Mapping[str, str], chart: str, tools: Mapping[str, str]) -> str:
    """What was made of what, and by which versions of `tools`."""
    said = {
        "version": source.version,
        "commit": source.commit,
        "seconds": source.seconds,
        "tools": dict(sorted(tools.items())),
        "base": {"name": base.name, "digest": base.digest},
        "images": dict(sorted(digests.items())),
        "chart": chart,
    }
    return json.dumps(said, indent=2) + "\n"


def sums(folder: Path) -> str:
    """In the form of sha256sum, of each file but those that differ from run to run, and of what is in `oci`."""
    files = sorted(each.relative_to(folder) for each in folder.rglob("*") if each.is_file())
    wanted = [each for each in files if each.parts[0] != "oci" and str(each) not in UNSUMMED]
    return "".join(f"{hashlib.sha256((folder / each).read_bytes()).hexdigest()}  {each}\n" for each in wanted)
