"""All targets by their names, and in their kinds, each of which gets the same time."""

from __future__ import annotations

from types import ModuleType

from fuzz import capsule, files, identity, ipc, plane, values, wire
from fuzz.target import TARGETS

__all__ = ["KINDS", "TARGETS"]

_MODULES: dict[str, tuple[ModuleType, ...]] = {
    "wire": (wire,),
    "values": (values,),
    "files": (files,),
    "links": (plane,),
    "capsule": (ipc, capsule),
    "identity": (identity,),
}

KINDS = {
    kind: [name for name, each in TARGETS.items() if each.parse.__module__ in {module.__name__ for module in modules}]
    for kind, modules in _MODULES.items()
}
"""wire: lanes and frames, as anybody may send them. values: payloads. files: pools and settings. links: hello, and what is said behind it.
capsule: what an author's processes say to the agent. identity: tokens, keys, and requests of the port for metrics."""
