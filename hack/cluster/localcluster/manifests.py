"""Owns what is in the cluster from its first moment: the address of its DNS, and a few volumes on each node's disk."""

from typing import Any

from localcluster import network
from localcluster.paths import State

VOLUMES_PER_NODE = 12
VOLUME_SIZE = "2Gi"
STORAGE_CLASS = "local"
Manifest = dict[str, Any]


def first(state: State) -> Manifest:
    """One list, for one `kubectl apply`; makes the folders of the volumes too."""
    volumes = [_volume(state, index, number) for index in state.nodes for number in range(1, VOLUMES_PER_NODE + 1)]
    return {"apiVersion": "v1", "kind": "List", "items": [*dns(), storage_class(), *volumes]}


def dns() -> list[Manifest]:
    """The DNS server is a process beside the API server, not a pod; so its endpoint is written down."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    service = {"name": "kube-dns", "namespace": "kube-system"}
    endpoints = {"name": "kube-dns-1", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": service, "spec": {"clusterIP": network.DNS_SERVICE, "ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": endpoints,
            "addressType": "IPv4",
            "endpoints": [{"addresses": [network.SERVER], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]


def dns_pod() -> Manifest:
    """It runs nowhere: a NetworkPolicy that lets pods dial the DNS names it by the labels of its pods, and this one has its address."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "coredns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "coredns", "image": "coredns"}]},
        "status": {"phase": "Running", "podIP": network.SERVER, "podIPs": [{"ip": network.SERVER}]},
    }


def storage_class() -> Manifest:
    """The default one: a claim takes one of the volumes that are there, on the node where its pod goes."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(state: State, index: int, number: int) -> Manifest:
    folder = state.node(index) / f"volumes/{number}"
    folder.mkdir(parents=True, exist_ok=True)
    return volume(network.node_name(index), number, str(folder))


def volume(node: str, number: int, folder: str) -> Manifest:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{node}-{number}"},
        "spec": {
            "capacity": {"storage": VOLUME_SIZE},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": folder},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
