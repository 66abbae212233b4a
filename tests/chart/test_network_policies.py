"""NetworkPolicies of the chart, and what it has the operator make: whom they hold for, and whom they let in. tests/e2e proves them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from snakepit_operator import settings as operator_settings
from support.chart import Manifest, Objects, Refused, Render, environment

COMPONENTS = ("control-plane", "operator", "gateway", "redis")
DNS = {("UDP", 53), ("TCP", 53)}


SCRAPERS = [{"namespaceSelector": {"matchLabels": {"snakepit.dev/scraper": "true"}}}]


def policy(objects: Objects, component: str) -> Manifest:
    return objects.get("NetworkPolicy", f"snakepit-{component}")["spec"]


def ports(rule: Mapping[str, Any]) -> set[tuple[str, int]]:
    return {(each["protocol"], each["port"]) for each in rule["ports"]}


def tcp(*numbers: int) -> set[tuple[str, int]]:
    return {("TCP", number) for number in numbers}


def capsules(objects: Objects) -> Manifest:
    """As the operator reads it."""
    pod = dict(objects.pod_specs())["snakepit-operator"]
    return operator_settings.load(environment(pod) | {"POD_NAME": "x", "POD_NAMESPACE": "snakepit-system"}).capsule_policy


@pytest.mark.parametrize("values", [("gateway.enabled=true",), ("gateway.enabled=true", "redis.replicas=3")])
def test_every_pod_of_the_chart_has_a_policy_that_denies_what_it_doesnt_name(render: Render, values: tuple[str, ...]) -> None:
    objects = render(*values)
    denied = [each["spec"] for each in objects.of("NetworkPolicy") if each["spec"]["policyTypes"] == ["Ingress", "Egress"]]
    made = [each["spec"]["template"]["metadata"]["labels"] for kind in ("Deployment", "StatefulSet") for each in objects.of(kind)]
    assert len(made) == len(denied) == len(COMPONENTS)
    for labels in made:
        assert [spec for spec in denied if spec["podSelector"]["matchLabels"].items() <= labels.items()]


def test_callers_capsules_the_operator_and_helms_test_reach_the_control_plane(render: Render) -> None:
    callers, _ = policy(render(), "control-plane")["ingress"]
    assert ports(callers) == tcp(7800, 7802)
    labelled, of_pools, operator, test = callers["from"]
    assert labelled == {"namespaceSelector": {"matchLabels": {"snakepit.dev/caller": "true"}}}
    assert of_pools == {"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": "snakepit.dev/pool", "operator": "Exists"}]}}
    assert [each["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for each in (operator, test)] == ["operator", "test"]
    (pod,) = render(hooks=True).of("Pod")
    assert test["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_with_namespaces_of_its_own_only_their_capsules_reach_the_control_plane(render: Render) -> None:
    of_pools = policy(render("watchNamespaces={one,two}"), "control-plane")["ingress"][0]["from"][1]
    within = [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["one", "two"]}]
    assert of_pools["namespaceSelector"] == {"matchExpressions": within}


@pytest.mark.parametrize(("replicas", "open_ports"), [(1, (6379,)), (3, (6379, 26379))])
def test_redis_is_the_control_planes_alone_and_its_own(render: Render, replicas: int, open_ports: tuple[int, ...]) -> None:
    objects = render(f"redis.replicas={replicas}")
    (rule,) = policy(objects, "redis")["ingress"]
    assert [each["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for each in rule["from"]] == ["control-plane", "redis"]
    assert not any("namespaceSelector" in each for each in rule["from"]), "of this namespace alone"
    assert ports(rule) == ports(policy(objects, "control-plane")["egress"][0]) == tcp(*open_ports)
    assert ("egress" in policy(objects, "redis")) is (replicas > 1), "one alone dials nobody"


def test_a_redis_of_your_own_is_dialled_where_you_say_or_anywhere(render: Render) -> None:
    url = "redis.url=redis://elsewhere:6380/0"
    assert policy(render(url), "control-plane")["egress"][0] == {}
    named = render(url, "networkPolicy.redis[0].ipBlock.cidr=192.0.2.7/32")
    assert policy(named, "control-plane")["egress"][0] == {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}]}


def test_control_plane_and_operator_dial_the_api_server_and_the_dns(render: Render) -> None:
    for component in ("control-plane", "operator"):
        api_server, dns = policy(render("networkPolicy.apiServer.at[0].ipBlock.cidr=192.0.2.1/32"), component)["egress"][1:]
        assert (api_server["to"], ports(api_server)) == ([{"ipBlock": {"cidr": "192.0.2.1/32"}}], tcp(443, 6443))
        assert ports(dns) == DNS


def test_the_operator_is_reached_by_whom_it_serves(render: Render) -> None:
    assert "ingress" not in policy(render("networkPolicy.scrapers=null"), "operator")
    _, api_server, keda = policy(render("metricsApi.enabled=true", "keda.enabled=true"), "operator")["ingress"]
    assert (api_server["from"], ports(api_server)) == ([], tcp(7804)), "the API server, which no policy can name"
    assert (keda["from"], ports(keda)) == ([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}], tcp(7805))


def test_who_scrapes_reaches_the_metrics_of_everybody_but_redis_and_nothing_else(render: Render) -> None:
    objects = render("gateway.enabled=true")
    for spec in [*(policy(objects, each) for each in ("control-plane", "operator", "gateway")), capsules(objects)["spec"]]:
        (rule,) = [each for each in spec["ingress"] if each["from"] == SCRAPERS]
        assert ports(rule) == tcp(7801)
        assert not [each for each in spec["ingress"] if each is not rule and tcp(7801) & ports(each)]
    assert SCRAPERS not in [each["from"] for each in policy(objects, "redis")["ingress"]]


def test_capsules_dial_the_control_plane_and_the_dns_and_nobody_dials_them(render: Render) -> None:
    found = capsules(render("metrics.agents=false"))
    assert found["metadata"] == {"name": "snakepit-capsules"}
    spec = found["spec"]
    assert spec["podSelector"] == {"matchExpressions": [{"key": "snakepit.dev/pool", "operator": "Exists"}]}
    assert (spec["policyTypes"], spec.get("ingress")) == (["Ingress", "Egress"], [])
    control_plane, dns = spec["egress"]
    (peer,) = control_plane["to"]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "snakepit-system"}}
    assert peer["podSelector"] == policy(render(), "control-plane")["podSelector"]
    assert (ports(control_plane), ports(dns)) == (tcp(7800, 7802), DNS)


def test_capsules_may_be_let_out_and_everybody_to_a_place_that_is_named(render: Render) -> None:
    assert capsules(render("networkPolicy.capsules=open"))["spec"]["egress"] == [{}]
    objects = render("networkPolicy.egress[0].ports[0].port=4317")
    collector = {"ports": [{"port": 4317}]}
    assert collector in capsules(objects)["spec"]["egress"]
    assert all(policy(objects, component)["egress"][-1] == collector for component in ("control-plane", "operator"))


def test_without_them_there_are_none_and_the_operator_takes_its_own_away(render: Render) -> None:
    objects = render("networkPolicy.enabled=false")
    assert not objects.of("NetworkPolicy")
    assert capsules(objects) == {"metadata": {"name": "snakepit-capsules"}}
    (rule,) = [each for each in objects.get("ClusterRole", "snakepit-operator")["rules"] if "networkpolicies" in each["resources"]]
    assert rule["verbs"] == ["delete"]


@pytest.mark.parametrize("value", ["networkPolicy.capsules=closed", "networkPolicy.apiServer.ports={https}"])
def test_what_would_cut_everybody_off_is_refused(render: Render, value: str) -> None:
    with pytest.raises(Refused, match="networkPolicy"):
        render(value)


def test_the_operators_policy_is_json_that_names_this_release(render: Render) -> None:
    pod = dict(render(release="other").pod_specs())["other-snakepit-operator"]
    assert json.loads(environment(pod)["SNAKEPIT_CAPSULE_POLICY"])["metadata"]["name"] == "other-snakepit-capsules"
