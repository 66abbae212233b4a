"""Asks the cluster's API server and its DNS whether they are there. It never changes anything."""

import http.client
import json
import socket
import ssl
import struct
from datetime import datetime
from typing import Any

from localcluster import network
from localcluster.paths import State

TIMEOUT_SECONDS = 3.0
DNS_PORT = 53
ANSWER_COUNT = slice(6, 8)


def get(state: State, path: str) -> str | None:
    """The body of an OK answer, or None."""
    try:
        context = ssl.create_default_context(cafile=str(state.pki / "ca.crt"))
        context.load_cert_chain(state.pki / "admin.crt", state.pki / "admin.key")
        connection = http.client.HTTPSConnection(network.SERVER, network.API_PORT, timeout=TIMEOUT_SECONDS, context=context)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    return body if answer.status == http.HTTPStatus.OK else None


def is_there(state: State, path: str) -> bool:
    """Is there an object of that path?"""
    return get(state, path) is not None


def is_ready(state: State) -> bool:
    return get(state, "/readyz") == "ok"


def ready_nodes(state: State) -> set[str]:
    body = get(state, "/api/v1/nodes")
    return nodes_that_are_ready(json.loads(body)) if body else set()


def nodes_that_are_ready(answer: dict[str, Any]) -> set[str]:
    return {node["metadata"]["name"] for node in answer["items"] if _is_true(node["status"].get("conditions", []), "Ready")}


def is_node_back(answer: dict[str, Any], since: float) -> bool:
    """Is the node of this list Ready, and its lease renewed since that time?"""
    leases = [item["spec"]["renewTime"] for item in answer["items"] if item["kind"] == "Lease"]
    nodes = {"items": [item for item in answer["items"] if item["kind"] == "Node"]}
    return bool(nodes_that_are_ready(nodes)) and any(datetime.fromisoformat(lease).timestamp() > since for lease in leases)


def _is_true(conditions: list[dict[str, str]], kind: str) -> bool:
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


def resolves(name: str, server: str = network.DNS_SERVICE) -> bool:
    """Does the cluster's DNS know an address of that name?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        try:
            udp.sendto(dns_query(name), (server, DNS_PORT))
            answer = udp.recv(512)
        except OSError:
            return False
    return int.from_bytes(answer[ANSWER_COUNT], "big") > 0


def dns_query(name: str) -> bytes:
    """A question for an A record, as RFC 1035 has it."""
    header = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return header + labels + b"\0" + struct.pack(">HH", 1, 1)
