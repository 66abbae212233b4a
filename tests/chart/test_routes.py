"""Ways to the gateway from outside, as docs/gateway.md has them: the API server takes them, and they lead to what the chart makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.chart import Objects, Render, assignments
from support.go_tools import go_module
from support.pages import blocks

GATEWAY_API = "sigs.k8s.io/gateway-api@v1.5.1"
KINDS = ("httproutes", "backendtlspolicies")


def written(heading: str) -> list[dict[str, Any]]:
    return [document for block in blocks("docs/gateway.md", "yaml", heading) for document in yaml.safe_load_all(block.text)]


@pytest.fixture(scope="module")
def gateway_api(run: Any) -> Iterator[None]:
    """Its standard channel's definitions of these two, as its Go module has them."""
    folder = go_module(GATEWAY_API) / "config/crd/standard"
    files = [str(folder / f"gateway.networking.k8s.io_{kind}.yaml") for kind in KINDS]
    for file in files:
        run("kubectl", "apply", "--server-side", "-f", file)
    run("kubectl", "wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{kind}.gateway.networking.k8s.io" for kind in KINDS))
    yield
    for file in files:
        run("kubectl", "delete", "-f", file)


def taken(run: Any, document: dict[str, Any]) -> None:
    """The API server takes it, with no field that it doesn't know. The namespace is one that is there."""
    own = {**document, "metadata": {**document["metadata"], "namespace": "default"}}
    run("kubectl", "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(own))


def made(objects: Objects, name: str) -> dict[str, Any]:
    (port,) = objects.get("Service", name)["spec"]["ports"]
    return dict(port)


def test_the_ingress_leads_to_the_gateways_plain_port(run: Any, render: Render) -> None:
    values, ingress = written("Behind an Ingress")
    taken(run, ingress)
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    objects = render(*assignments(values))
    port = made(objects, backend["name"])
    assert (port["name"], port["appProtocol"]) == (backend["port"]["name"], "http")
    rule, *_ = objects.get("NetworkPolicy", "snakepit-gateway")["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [7880]
    assert rule["from"] == values["networkPolicy"]["gateway"]


def test_the_route_leads_to_the_gateways_port_and_knows_its_certificate(run: Any, render: Render, gateway_api: None) -> None:
    route, policy = written("Behind a Gateway")
    for each in (route, policy):
        taken(run, each)
    objects = render("gateway.enabled=true")
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    port = made(objects, backend["name"])
    assert (port["port"], port["appProtocol"]) == (backend["port"], "https")
    (target,) = policy["spec"]["targetRefs"]
    assert target["name"] == backend["name"]
    names = {each["name"]: each.get("value", "") for each in dict(objects.pod_specs())["snakepit-operator"]["containers"][0]["env"]}
    assert policy["spec"]["validation"]["hostname"] in names["SNAKEPIT_TLS_GATEWAY_NAMES"].split(",")
    (authority,) = policy["spec"]["validation"]["caCertificateRefs"]
    assert authority["name"] == f"{names['SNAKEPIT_TLS_SERVICE']}-ca"
