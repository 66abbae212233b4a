"""How Prometheus finds what each component measures, and that each answers where the chart says so."""

from __future__ import annotations

from typing import Any

import pytest

from snakepit_agent import settings as agent_settings
from snakepit_gateway import settings as gateway_settings
from snakepit_operator import settings as operator_settings
from snakepit_operator.model import Creation
from snakepit_operator.pods import pod
from support.chart import Manifest, Objects, Refused, Render, environment
from support.operator_world import pool

COMPONENTS = ("control-plane", "operator", "gateway")
GATEWAY, MONITORED, PODS = "gateway.enabled=true", "metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true"


def template(objects: Objects, component: str) -> Manifest:
    found: Manifest = objects.get("Deployment", f"snakepit-{component}")["spec"]["template"]
    return found


def operator(objects: Objects) -> operator_settings.Settings:
    return operator_settings.load(environment(template(objects, "operator")["spec"]) | {"POD_NAMESPACE": "snakepit-system"})


def agent(objects: Objects) -> Manifest:
    """The container, as the operator makes it."""
    found: Manifest = pod(pool(), Creation("digits-0", 0, "x"), operator(objects).agent)["spec"]["initContainers"][0]
    return found


def ports(container: Manifest) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in container.get("ports", ())}


def test_each_component_answers_at_the_port_that_it_names(render: Render) -> None:
    objects = render(GATEWAY)
    for component in COMPONENTS:
        assert ports(template(objects, component)["spec"]["containers"][0])["metrics"] == 7801
    assert operator(objects).metrics == "0.0.0.0:7801"
    gateway = gateway_settings.from_environment(environment(template(objects, "gateway")["spec"]))
    assert (gateway.metrics, gateway.port) == ("0.0.0.0:7801", 7880), "never where the public is"


def test_agents_answer_at_the_port_that_they_name_unless_they_may_not(render: Render) -> None:
    def told(container: Manifest) -> int:
        environment: dict[str, str] = {each["name"]: each.get("value", "") for each in container["env"]}
        return agent_settings.from_environment(environment).metrics_port

    on, off = agent(render()), agent(render("metrics.agents=false"))
    assert (ports(on), told(on)) == ({"agent-metrics": 7801}, 7801)
    assert (ports(off), told(off)) == ({}, 0)


def test_pods_are_found_by_annotation_but_not_capsules(render: Render) -> None:
    def annotations(*values: str) -> list[Any]:
        objects = render(GATEWAY, *values)
        return [template(objects, component)["metadata"].get("annotations") for component in COMPONENTS]

    assert annotations() == [{"prometheus.io/scrape": "true", "prometheus.io/port": "7801", "prometheus.io/path": "/metrics"}] * 3
    assert annotations("metrics.annotations=false") == [None] * 3
    made = pod(pool(), Creation("digits-0", 0, "x"), operator(render()).agent)
    assert not [each for each in made["metadata"]["annotations"] if "prometheus" in each]


def test_a_service_monitor_of_each_component_selects_the_service_that_has_every_replica(render: Render) -> None:
    assert "ServiceMonitor" not in render().kinds()
    objects = render(GATEWAY, MONITORED, "metrics.serviceMonitor.labels.release=prometheus")
    found = {}
    for monitor in objects.of("ServiceMonitor"):
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [each for each in objects.of("Service") if wanted.items() <= each["metadata"]["labels"].items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert [each["port"] for each in service["spec"]["ports"] if each["name"] == endpoint["port"]] == [7801]
        assert endpoint["honorLabels"], "the label namespace is ours: that of the sessions, not the pod's"
        assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
        found[monitor["metadata"]["name"]] = service["spec"]["selector"]["app.kubernetes.io/component"]
    assert found == {f"snakepit-{component}": component for component in COMPONENTS}


def test_the_pod_monitor_finds_the_agents_of_every_namespace_that_is_looked_after(render: Render) -> None:
    assert "PodMonitor" not in render().kinds()
    (everywhere,) = render(PODS).of("PodMonitor")
    (within,) = render(PODS, "watchNamespaces={one,two}").of("PodMonitor")
    assert everywhere["spec"]["namespaceSelector"] == {"any": True}
    assert within["spec"]["namespaceSelector"] == {"matchNames": ["one", "two"]}
    assert everywhere["spec"]["selector"] == {"matchExpressions": [{"key": "snakepit.dev/pool", "operator": "Exists"}]}
    (endpoint,) = everywhere["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in ports(agent(render(PODS)))
    with pytest.raises(Refused, match=r"metrics.podMonitor.enabled=true needs metrics.agents=true"):
        render(PODS, "metrics.agents=false")
