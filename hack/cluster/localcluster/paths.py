"""Owns where things are: the checkout, the state of the one cluster of this machine, and the cache of what was built."""

import os
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
HERE = PACKAGE.parent
"""The folder that `python3` is started with."""

LONGEST_STATE_PATH = 70
"""A Unix socket's path has 108 bytes at most, and containerd's lie below the state folder."""


@dataclass(frozen=True)
class State:
    """The folder of a running cluster. It is made by `up`, and `down` removes all of it."""

    root: Path

    @property
    def owner(self) -> Path:
        """Names the checkout that started the cluster."""
        return self.root / "owner"

    @property
    def _nodes(self) -> Path:
        return self.root / "nodes"

    @property
    def nodes(self) -> range:
        """The numbers of its nodes, as `has_nodes` was told."""
        return range(1, int(self._nodes.read_text()) + 1)

    def has_nodes(self, count: int) -> None:
        """Remembered for every command until `down`."""
        self._nodes.write_text(f"{count}\n")

    @property
    def ready(self) -> Path:
        """Is there once every node was Ready and names resolved."""
        return self.root / "ready"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def preload(self) -> Path:
        """Image archives that a node takes in before its kubelet starts."""
        return self.root / "preload"

    @property
    def resolv_conf(self) -> Path:
        return self.root / "resolv.conf"

    def kubeconfig(self, user: str = "admin") -> Path:
        return self.pki / f"{user}.kubeconfig"

    def node(self, index: int) -> Path:
        return self.root / f"node-{index}"

    def containerd_socket(self, index: int) -> Path:
        return self.node(index) / "run/containerd.sock"


@dataclass(frozen=True)
class Paths:
    checkout: Path
    cache: Path
    state: State
    lock: Path


def from_environment(environment: dict[str, str] | os._Environ[str] = os.environ) -> Paths:
    """The defaults, and the two variables that move them."""
    home = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/root")) / ".cache")
    cache = Path(environment.get("SNAKEPIT_CLUSTER_CACHE") or home / "snakepit-cluster")
    state = Path(environment.get("SNAKEPIT_CLUSTER_STATE") or "/var/lib/snakepit-cluster")
    return Paths(HERE.parents[1], cache, State(state), Path("/run/lock") / (str(state).strip("/").replace("/", "-") + ".lock"))
