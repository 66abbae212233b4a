"""PID 1 of the whole cluster: it makes the outer network, runs the control plane, and starts the nodes.

It has network, mounts and process numbers of its own, so that its end is the end of everything in here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from localcluster import api, control_plane, manifests, network, node, shell
from localcluster.paths import HERE, State
from localcluster.supervise import Supervisor, say, wait_for

ROLE = "_sandbox"
START_SECONDS = 120.0
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
POD_ACCOUNT = "/api/v1/namespaces/kube-system/serviceaccounts/default"
KNOWN_NAME = f"kubernetes.default.svc.{network.DOMAIN}"


def launch(state: State) -> None:
    """Start it so that it outlives whoever asked for it."""
    state.log.mkdir(parents=True, exist_ok=True)
    command = ["unshare", *NAMESPACES, sys.executable, str(HERE), ROLE, str(state.root)]
    with (state.log / "sandbox.log").open("ab") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")


def main(state: State) -> None:
    """Never returns while all is well; when it fails, the cluster is gone with it."""
    supervisor = Supervisor(state.log)
    _make_network(state)
    _start_api_server(state, supervisor)
    for index in state.nodes:
        node.launch(state, index)
    wait_for("API server ready", lambda: api.is_ready(state), START_SECONDS)
    _start_the_rest(state, supervisor)
    expected = {network.node_name(index) for index in state.nodes}
    wait_for("nodes ready", lambda: expected <= api.ready_nodes(state), START_SECONDS)
    # kube-proxy waits half a minute for its own node, and this place is none: it borrows the name of one that is.
    supervisor.start("kube-proxy", control_plane.kube_proxy(state, network.node_name(1)))
    wait_for("names resolve", lambda: api.resolves(KNOWN_NAME), START_SECONDS)
    wait_for("pods have accounts", lambda: api.is_there(state, POD_ACCOUNT), START_SECONDS)
    _show_dns(state)
    state.ready.touch()
    supervisor.run_forever()


def _make_network(state: State) -> None:
    shell.output("mount", "--bind", state.resolv_conf, "/etc/resolv.conf")
    shell.output("ip", "link", "set", "lo", "up")
    shell.output("ip", "link", "add", network.BRIDGE, "type", "bridge")
    shell.output("ip", "address", "add", f"{network.SERVER}/{network.LAN_PREFIX}", "dev", network.BRIDGE)
    shell.output("ip", "link", "set", network.BRIDGE, "up")
    # Without a route the kernel refuses a Service's address before kube-proxy's rules can rewrite it.
    shell.output("ip", "route", "add", network.SERVICE_RANGE, "dev", network.BRIDGE)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _start_api_server(state: State, supervisor: Supervisor) -> None:
    supervisor.start("etcd", control_plane.etcd(state))
    supervisor.start("kube-apiserver", control_plane.api_server(state))


def _start_the_rest(state: State, supervisor: Supervisor) -> None:
    (state.root / "Corefile").write_text(control_plane.corefile(state))
    supervisor.start("kube-controller-manager", control_plane.controller_manager(state))
    supervisor.start("kube-scheduler", control_plane.scheduler(state))
    supervisor.start("coredns", control_plane.coredns(state))
    _kubectl(state, manifests.first(state), "create")
    say("control plane started")


def _show_dns(state: State) -> None:
    _kubectl(state, manifests.dns_pod(), "create")
    _kubectl(state, manifests.dns_pod(), "replace", "--subresource=status")


def _kubectl(state: State, manifest: manifests.Manifest, *words: str) -> None:
    environment = {**os.environ, "KUBECACHEDIR": str(state.root / "kubectl-cache")}
    file = state.root / "first.json"
    file.write_text(json.dumps(manifest))
    shell.output(state.bin / "kubectl", "--kubeconfig", state.kubeconfig(), *words, "-f", file, environment=environment)
