"""Owns what the machine has to bring along: root, Debian's packages, and Go. What is missing is installed or named."""

import os
import re
import shutil
from pathlib import Path

from localcluster import progress, shell
from localcluster.paths import LONGEST_STATE_PATH, Paths
from localcluster.shell import Failure

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ipset": "ipset",
    "nft": "nftables",
    "ip": "iproute2",
    "debootstrap": "debootstrap",
    "openssl": "openssl",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""A program of each Debian package that the cluster is made of."""


def missing_packages() -> list[str]:
    return [package for program, package in PACKAGES.items() if shutil.which(program) is None]


def prepare(paths: Paths) -> None:
    """Make sure that everything is there before anything long begins."""
    if os.geteuid() != 0:
        raise Failure("The cluster needs root: it makes namespaces, mounts and cgroups.")
    if len(str(paths.state.root)) > LONGEST_STATE_PATH:
        raise Failure(f"SNAKEPIT_CLUSTER_STATE is longer than {LONGEST_STATE_PATH} characters: {paths.state.root}")
    packages = missing_packages()
    if packages:
        _install(packages, paths.cache / "log/apt.log")


def _install(packages: list[str], log: Path) -> None:
    if shutil.which("apt-get") is None:
        raise Failure(f"These Debian packages are missing, and there is no apt-get to install them: {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with progress.step(f"Debian packages ({' '.join(packages)})"):
        shell.logged(["apt-get", "update", "-q"], log, environment=environment)
        shell.logged(["apt-get", "install", "-yq", "--no-install-recommends", *packages], log, environment=environment)


def go_version(module: Path) -> str:
    """The Go that builds this module; the module's own file says which is the oldest that can."""
    wanted = re.findall(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)[0]
    needed = f"The Kubernetes binary is built from source and needs Go {wanted} or newer, as `go` on the PATH"
    go = find_go()
    if go is None:
        raise Failure(f"{needed}; there is none. Debian 12's own package `golang` is too old.")
    try:
        return shell.output(go, "-C", module, "env", "GOVERSION").strip()
    except Failure as failure:
        raise Failure(f"{needed}. {failure}") from None


def find_go() -> str | None:
    """On the PATH, or where Go's own installer puts it: root's PATH often lacks that."""
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")
