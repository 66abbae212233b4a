"""All targets by their names."""

from fuzz import capsule, files, identity, ipc, plane, values, wire
from fuzz.target import TARGETS

__all__ = ["TARGETS", "capsule", "files", "identity", "ipc", "plane", "values", "wire"]
