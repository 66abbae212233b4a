"""PID 1 of one node: containerd, kubelet, kube-proxy and kube-router, in network, mounts and process numbers of its own.

Kill it, and the node is dead as if its power had failed: every container on it ends in the same moment.
"""

import os
import subprocess
import sys
from pathlib import Path

from localcluster import api, cgroups, control_plane, network, node_config, shell
from localcluster.paths import HERE, State
from localcluster.supervise import Supervisor, wait_for

ROLE = "_node"
LAUNCHER_ROLE = "_launch-node"
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
START_SECONDS = 60.0

OUTER_NETWORK = "/proc/self/fd/0"
"""A node gets the network namespace that it was launched from as its standard input, to plug its cable in there."""

PRIVATE_FOLDERS = {"/var/log": "var-log", "/var/lib/cni": "var-lib-cni", "/var/lib/kubelet": "kubelet"}
"""Where programs write without asking; each node sees a folder of its own there."""


def launch(state: State, index: int) -> None:
    """Start a node; to be called inside the cluster's own namespaces."""
    command = ["unshare", *NAMESPACES, sys.executable, str(HERE), ROLE, str(state.root), str(index)]
    log_path = state.log / f"{network.node_name(index)}.log"
    with log_path.open("ab") as log, Path("/proc/self/ns/net").open() as outer:
        subprocess.Popen(command, stdin=outer, stdout=log, stderr=log, start_new_session=True, cwd="/")


def launcher(state: State, index: int) -> list[str]:
    """The command that launches a node from wherever it is run."""
    return [sys.executable, str(HERE), LAUNCHER_ROLE, str(state.root), str(index)]


def main(state: State, index: int) -> None:
    """Never returns while all is well."""
    supervisor = Supervisor(state.node(index) / "log")
    _make_folders(state, index)
    _plug_in(state, index)
    _release_standard_input()
    cgroups.remove(cgroups.name(index))
    cgroups.create(index)
    node_config.write(state, index)
    _start_containerd(state, index, supervisor)
    wait_for("API server ready", lambda: api.is_ready(state), START_SECONDS)
    supervisor.start("kubelet", node_config.kubelet(state, index))
    supervisor.start("kube-proxy", control_plane.kube_proxy(state, network.node_name(index)))
    wait_for("node registered", lambda: api.is_there(state, f"/api/v1/nodes/{network.node_name(index)}"), START_SECONDS)
    supervisor.start("kube-router", control_plane.kube_router(state, network.node_name(index)))
    supervisor.run_forever()


def _make_folders(state: State, index: int) -> None:
    shell.output("mount", "-t", "tmpfs", "tmpfs", "/run")
    # Where sockets and mounts of a former life are forgotten, as at a reboot.
    shell.succeeds("rm", "-rf", state.node(index) / "run")
    (state.node(index) / "run").mkdir(parents=True)
    for seen, name in PRIVATE_FOLDERS.items():
        own = state.node(index) / name
        own.mkdir(parents=True, exist_ok=True)
        Path(seen).mkdir(parents=True, exist_ok=True)
        shell.output("mount", "--bind", own, seen)


def _plug_in(state: State, index: int) -> None:
    veth, address = network.veth_name(index), network.node_address(index)
    # A node that was killed a moment ago may not have lost its cable yet.
    subprocess.run(_outside("ip", "link", "delete", veth), capture_output=True, check=False)
    _ip("link", "set", "lo", "up")
    _ip("link", "add", "eth0", "type", "veth", "peer", "name", veth, "netns", OUTER_NETWORK)
    _ip("address", "add", f"{address}/{network.LAN_PREFIX}", "dev", "eth0")
    _ip("link", "set", "eth0", "up")
    _ip("route", "add", "default", "via", network.SERVER)
    _run(_outside("ip", "link", "set", veth, "master", network.BRIDGE, "up"))
    _run(_outside("ip", "route", "replace", network.pod_range(index), "via", address))
    for other in state.nodes:
        if other != index:
            _ip("route", "add", network.pod_range(other), "via", network.node_address(other))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    bridge_filter = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridge_filter.exists():
        bridge_filter.write_text("1")


def _outside(*argv: str) -> list[str]:
    return ["nsenter", f"--net={OUTER_NETWORK}", *argv]


def _ip(*argv: str) -> None:
    _run(["ip", *argv])


def _run(argv: list[str]) -> None:
    """Like any command, but with this process's standard input: see OUTER_NETWORK."""
    subprocess.run(argv, check=True)


def _start_containerd(state: State, index: int, supervisor: Supervisor) -> None:
    socket = state.containerd_socket(index)
    supervisor.start("containerd", ["containerd", "-c", state.node(index) / "containerd.toml"])
    wait_for("containerd ready", lambda: shell.succeeds("ctr", "-a", socket, "version"), START_SECONDS)
    for archive in sorted(state.preload.iterdir()):
        shell.output("ctr", "-a", socket, "-n", "k8s.io", "images", "import", archive)


def _release_standard_input() -> None:
    """After the cable is in, nothing of the outside is left open."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
