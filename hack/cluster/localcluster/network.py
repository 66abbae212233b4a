"""Owns the addresses of the cluster. All of them exist inside its own network namespaces only."""

SERVER = "10.200.0.1"
"""The machine of the control plane, and the bridge that the nodes hang on."""

BRIDGE = "lan"
LAN_PREFIX = 24
API_PORT = 6443
REGISTRY = f"{SERVER}:5000"
"""Where nodes pull without TLS. Nobody is there, unless a test starts a registry."""
API_URL = f"https://{SERVER}:{API_PORT}"

POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
DOMAIN = "cluster.local"

NODES = 2
"""Unless somebody asks for more."""
MOST_NODES = 9


def node_name(index: int) -> str:
    return f"node-{index}"


def node_address(index: int) -> str:
    return f"10.200.0.{10 + index}"


def pod_range(index: int) -> str:
    return f"10.244.{index}.0/24"


def veth_name(index: int) -> str:
    """The end of a node's cable that hangs on the bridge."""
    return f"veth{index}"
