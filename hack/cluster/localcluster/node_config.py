"""Owns the settings of a node's programs: containerd, its CNI plugin, and the kubelet."""

import json
from pathlib import Path
from typing import Any

from localcluster import cgroups, network
from localcluster.paths import State

PAUSE_IMAGE = "localhost/pause:1"
CNI_PLUGINS = "/usr/lib/cni"
MOST_PODS = 250
PULLED_FROM = f"""server = "http://{network.REGISTRY}"
[host."http://{network.REGISTRY}"]
  capabilities = ["pull", "resolve"]
"""
"""Without the second part, containerd 1.6 would speak TLS."""

LEASE_SECONDS = 4
"""Renewed four times as often: a node that is alive is never silent for as long as the controller's grace period."""


def write(state: State, index: int) -> None:
    folder = state.node(index)
    (folder / "net.d").mkdir(parents=True, exist_ok=True)
    (folder / "net.d/10-pods.conflist").write_text(json.dumps(cni(folder, index), indent=2))
    (folder / "containerd.toml").write_text(containerd(folder))
    registry = folder / "registries" / network.REGISTRY
    registry.mkdir(parents=True, exist_ok=True)
    (registry / "hosts.toml").write_text(PULLED_FROM)
    (folder / "kubelet.json").write_text(json.dumps(kubelet_settings(state, index), indent=2))


def cni(folder: Path, index: int) -> dict[str, Any]:
    """A bridge per node; other nodes' pods are reached by the routes between the nodes, never by masquerading."""
    addresses = {
        "type": "host-local",
        "dataDir": str(folder / "cni"),
        "ranges": [[{"subnet": network.pod_range(index)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}


def containerd(folder: Path) -> str:
    """`restrict_oom_score_adj`: without CAP_SYS_RESOURCE no process may lower its own, and every pod would fail at it."""
    return f"""version = 2
root = "{folder}/containerd"
state = "{folder}/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{folder}/run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{folder}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def kubelet_settings(state: State, index: int) -> dict[str, Any]:
    folder, name = state.node(index), network.node_name(index)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(state.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.name(index)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{state.containerd_socket(index)}",
        "tlsCertFile": str(state.pki / f"{name}.crt"),
        "tlsPrivateKeyFile": str(state.pki / f"{name}.key"),
        "volumePluginDir": str(folder / "volume-plugins"),
        "clusterDomain": network.DOMAIN,
        "clusterDNS": [network.DNS_SERVICE],
        "resolvConf": str(state.resolv_conf),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        # Else an image that was pulled under one name would have to be pulled again under another that it has been loaded with.
        "imagePullCredentialsVerificationPolicy": "NeverVerify",
        "maxPods": MOST_PODS,
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "4s",  # So soon a pod has what is new of a Secret or ConfigMap that it mounts; else within a minute and a half.
        "nodeLeaseDurationSeconds": LEASE_SECONDS,
    }


def kubelet(state: State, index: int) -> list[str | Path]:
    name = network.node_name(index)
    return [
        state.bin / "kubelet",
        f"--config={state.node(index) / 'kubelet.json'}",
        f"--kubeconfig={state.kubeconfig(name)}",
        f"--hostname-override={name}",
        f"--node-ip={network.node_address(index)}",
        f"--cert-dir={state.node(index) / 'kubelet'}",
    ]
