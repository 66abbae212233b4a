"""The chart, without a cluster: what it renders with which values, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import yaml

from snakepit.spec import load_pools
from snakepit_control_plane import settings as control_plane_settings
from snakepit_control_plane.model.quotas import Limits
from snakepit_operator import settings as operator_settings
from support.chart import CHART, EVERYTHING, Objects, Refused, Render, as_users_write_it, environment

ROOT = CHART.parents[1]
CRD = ROOT / "crds/snakepit.dev_snakepools.yaml"


# -- what there is -----------------------------------------------------------------------------------------------------


def test_without_values_there_are_two_operators_two_control_plane_replicas_and_a_redis(render: Render) -> None:
    objects = render()
    assert objects.get("Deployment", "snakepit-operator")["spec"]["replicas"] == 2
    assert objects.get("Deployment", "snakepit-control-plane")["spec"]["replicas"] == 2
    assert objects.get("StatefulSet", "snakepit-redis")["spec"]["replicas"] == 1


def test_callers_find_the_service_snakepit_and_agents_every_replica_even_before_it_is_ready(render: Render) -> None:
    callers = render().get("Service", "snakepit")["spec"]
    assert callers["type"] == "ClusterIP"
    assert [port["port"] for port in callers["ports"]] == [7800]
    replicas = render().get("Service", "snakepit-control-plane")["spec"]
    assert replicas["clusterIP"] == "None"
    assert replicas["publishNotReadyAddresses"] is True
    assert callers["selector"] == replicas["selector"]


def test_the_operators_own_settings_reader_takes_what_the_chart_gives(render: Render) -> None:
    pod = dict(render("agent.pullSecrets={one}", "agent.maxNestedCalls=5").pod_specs())["snakepit-operator"]
    variables = environment(pod) | {"POD_NAME": "snakepit-operator-0", "POD_NAMESPACE": "snakepit-system"}
    settings = operator_settings.load(variables)
    assert settings.lease_name == "snakepit-operator"
    assert settings.health == f"0.0.0.0:{pod['containers'][0]['ports'][0]['containerPort']}"
    assert settings.agent.control_plane == "dns:///snakepit-control-plane.snakepit-system:7800"
    assert settings.agent.image == "snakepit/agent:dev"
    assert settings.agent.resources["limits"] == {"memory": "256Mi"}
    assert settings.agent.pull_secrets == ("one",)
    assert {"name": "SNAKEPIT_MAX_NESTED_CALLS", "value": "5"} in settings.agent.env


def test_the_control_planes_own_settings_reader_takes_what_the_chart_gives(render: Render) -> None:
    limits = {limit.name: limit.default + 1 for limit in fields(Limits)} | {"max_payload_bytes": 1048576}
    values = [f"controlPlane.{as_users_write_it(name)}={value}" for name, value in limits.items()]
    pod = dict(render(*values).pod_specs())["snakepit-control-plane"]
    settings = control_plane_settings.from_environment(environment(pod))
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert settings.listen == f"0.0.0.0:{ports['grpc']}"
    assert (settings.metrics, settings.health) == (f"0.0.0.0:{ports['metrics']}", f"0.0.0.0:{ports['health']}")
    assert {name: getattr(settings, name) for name in limits} == limits
    assert settings.linger_seconds + settings.drain_seconds < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("component", ["operator", "control-plane", "gateway"])
def test_every_variable_that_the_chart_sets_is_read_by_the_program(render: Render, component: str) -> None:
    sources = "".join(path.read_text() for folder in (component, "sdk") for path in (ROOT / folder / "src").rglob("*.py"))
    ours = {
        name for name in environment(dict(render("gateway.enabled=true").pod_specs())[f"snakepit-{component}"]) if name != "REDIS_PASSWORD"
    }
    assert {name for name in ours if name not in sources} == set()


def test_every_service_and_budget_selects_the_pods_of_one_workload(render: Render) -> None:
    objects = render("gateway.enabled=true")
    templates = [each["spec"]["template"]["metadata"]["labels"] for each in objects if "template" in each.get("spec", {})]
    selectors = [each["spec"]["selector"] for each in objects.of("Service")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in objects.of("PodDisruptionBudget")]
    for selector in selectors:
        assert sum(selector.items() <= labels.items() for labels in templates) == 1, selector


def test_ports_that_services_and_probes_name_exist(render: Render) -> None:
    for name, pod in render("gateway.enabled=true").pod_specs():
        container = pod["containers"][0]
        ports = {port[key] for port in container["ports"] for key in ("name", "containerPort")}
        probes = [container[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe") if probe in container]
        assert {(probe.get("grpc") or probe.get("httpGet") or probe["tcpSocket"])["port"] for probe in probes} <= ports, name
        assert probes, name


def test_another_release_has_names_of_its_own(render: Render) -> None:
    ours = {(each["kind"], each["metadata"]["name"]) for each in render() if each["kind"] != "CustomResourceDefinition"}
    theirs = {(each["kind"], each["metadata"]["name"]) for each in render(release="other") if each["kind"] != "CustomResourceDefinition"}
    assert not ours & theirs
    assert ("Service", "other-snakepit-control-plane") in theirs


def test_the_longest_release_name_keeps_names_and_labels_within_63_characters(render: Render) -> None:
    for each in render(release="r" * 53):
        assert len(each["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in each["metadata"]["labels"].values())


def test_every_namespaced_object_says_its_namespace(render: Render) -> None:
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "APIService"}
    for each in render(*EVERYTHING, namespace="elsewhere"):
        if each["kind"] not in cluster_wide:
            # It is there that it stands whom an aggregated API may believe.
            theirs = each.get("roleRef", {}).get("name") == "extension-apiserver-authentication-reader"
            assert each["metadata"]["namespace"] == ("kube-system" if theirs else "elsewhere"), each["kind"]


def test_images_are_named_by_prefix_component_and_tag(render: Render) -> None:
    objects = render("image.registry=registry.example:5000", "image.repository=team/snakepit", "image.tag=1.2", "agent.image.tag=1.3")
    pods = dict(objects.pod_specs())
    assert pods["snakepit-control-plane"]["containers"][0]["image"] == "registry.example:5000/team/snakepit/control-plane:1.2"
    assert pods["snakepit-operator"]["containers"][0]["image"] == "registry.example:5000/team/snakepit/operator:1.2"
    assert environment(pods["snakepit-operator"])["SNAKEPIT_AGENT_IMAGE"] == "registry.example:5000/team/snakepit/agent:1.3"


def test_without_a_tag_the_images_have_the_charts_app_version(render: Render) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert dict(render().pod_specs())["snakepit-operator"]["containers"][0]["image"] == f"snakepit/operator:{version}"


def test_a_replica_has_time_to_finish_the_longest_default_call(render: Render) -> None:
    assert dict(render().pod_specs())["snakepit-control-plane"]["terminationGracePeriodSeconds"] == 330


def test_otel_variables_reach_operator_control_plane_and_agents(render: Render) -> None:
    objects = render("otel.env[0].name=OTEL_EXPORTER_OTLP_ENDPOINT", "otel.env[0].value=http://collector:4317")
    agents = json.loads(environment(dict(objects.pod_specs())["snakepit-operator"])["SNAKEPIT_AGENT_ENV"])
    assert {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4317"} in agents
    for name in ("snakepit-operator", "snakepit-control-plane"):
        assert environment(dict(objects.pod_specs())[name])["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4317"


@pytest.mark.parametrize(("component", "values"), [("control-plane", "controlPlane"), ("operator", "operator"), ("gateway", "gateway")])
def test_a_variable_that_is_given_takes_the_place_of_the_charts_own(render: Render, component: str, values: str) -> None:
    """The API server refuses a container with two variables of one name."""
    objects = render("gateway.enabled=true", f"{values}.extraEnv[0].name=SNAKEPIT_LOG_FORMAT", f"{values}.extraEnv[0].value=text")
    declared = dict(objects.pod_specs())[f"snakepit-{component}"]["containers"][0]["env"]
    assert [each["value"] for each in declared if each["name"] == "SNAKEPIT_LOG_FORMAT"] == ["text"]
    assert len({each["name"] for each in declared}) == len(declared) > 9


def test_lanes_are_found_at_the_replicas_own_address_on_a_port_that_a_policy_can_name(render: Render) -> None:
    pod = dict(render().pod_specs())["snakepit-control-plane"]
    declared = {each["name"]: each for each in pod["containers"][0]["env"]}
    ports = {each["name"]: each["containerPort"] for each in pod["containers"][0]["ports"]}
    assert declared["SNAKEPIT_LANE_LISTEN"]["value"] == f"0.0.0.0:{ports['lane']}"
    assert declared["SNAKEPIT_LANE_HOST"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"


# -- what is said for all pods, or for some ---------------------------------------------------------------------------

WORKLOADS = {
    "operator": "snakepit-operator",
    "controlPlane": "snakepit-control-plane",
    "gateway": "snakepit-gateway",
    "redis": "snakepit-redis",
}
ALL = "gateway.enabled=true"


def test_what_is_said_of_pods_holds_for_all_of_them_and_what_one_says_itself_takes_its_place(render: Render) -> None:
    pods = dict(
        render(
            ALL, "pods.nodeSelector.disk=ssd", "pods.priorityClassName=high", "redis.nodeSelector.zone=a", "operator.priorityClassName="
        ).pod_specs()
    )
    assert [pods[name]["nodeSelector"] for name in WORKLOADS.values()] == [{"disk": "ssd"}] * 3 + [{"zone": "a"}]
    assert [pods[name].get("priorityClassName") for name in WORKLOADS.values()] == [None, "high", "high", "high"]


def test_pods_of_a_silent_node_are_started_elsewhere_soon_but_for_redis_and_a_rule_of_your_own_wins(render: Render) -> None:
    silent = [f"node.kubernetes.io/{each}" for each in ("not-ready", "unreachable")]

    def seconds(*values: str) -> list[list[tuple[str, int | None]]]:
        pods = dict(render(ALL, *values).pod_specs())
        return [[(each["key"], each.get("tolerationSeconds")) for each in pods[name]["tolerations"]] for name in WORKLOADS.values()]

    soon, late = ([(key, after) for key in silent] for after in (30, 300))
    assert seconds() == [soon] * 3 + [late]
    mine = [
        "pods.tolerations[0].key=dedicated",
        "pods.tolerations[1].key=node.kubernetes.io/unreachable",
        "redis.unreachableTolerationSeconds=7",
    ]
    own = [("dedicated", None), ("node.kubernetes.io/unreachable", None)]
    assert seconds(*mine) == [[*own, (silent[0], 30)]] * 3 + [[*own, (silent[0], 7)]]


@pytest.mark.parametrize(("part", "name"), WORKLOADS.items())
def test_labels_and_annotations_of_workload_and_pods_are_given_and_the_charts_own_stay(render: Render, part: str, name: str) -> None:
    own = "app\\.kubernetes\\.io/component"
    given = {"labels": "w", "annotations": "x", "podLabels": "y", "podAnnotations": "z"}
    values = [f"{part}.{field}.mine={value}" for field, value in given.items()] + [
        f"{part}.podLabels.{own}=other",
        f"commonLabels.{own}=other",
    ]
    (workload,) = [each for each in render(ALL, *values) if each["metadata"]["name"] == name and "template" in each.get("spec", {})]
    template = workload["spec"]["template"]["metadata"]
    told = [metadata[kind]["mine"] for metadata in (workload["metadata"], template) for kind in ("labels", "annotations")]
    assert told == list("wxyz")
    assert workload["spec"]["selector"]["matchLabels"].items() <= template["labels"].items()


def test_common_labels_are_on_every_object_and_pod(render: Render) -> None:
    for each in render(*EVERYTHING, "commonLabels.cost=fleet", hooks=True):
        assert each["metadata"]["labels"]["cost"] == "fleet", each["kind"]
        template = each.get("spec", {}).get("template", {})
        if "metadata" in template:
            assert template["metadata"]["labels"]["cost"] == "fleet", each["kind"]


def test_replicas_of_a_component_spread_over_nodes_and_a_rule_without_a_selector_is_about_its_own_pods(render: Render) -> None:
    for part, name in WORKLOADS.items():
        rule = f"{part}.topologySpreadConstraints[0]"
        given = render(ALL, f"{rule}.topologyKey=zone", f"{rule}.maxSkew=2", f"{rule}.whenUnsatisfiable=DoNotSchedule")
        for objects, key in ((render(ALL), "kubernetes.io/hostname"), (given, "zone")):
            (workload,) = [each for each in objects if each["metadata"]["name"] == name and "template" in each.get("spec", {})]
            (constraint,) = workload["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert constraint["topologyKey"] == key
            assert constraint["labelSelector"] == workload["spec"]["selector"]


def test_a_platform_that_chooses_users_is_left_to_it(render: Render) -> None:
    nobody = [f"{part}.podSecurityContext.{field}=null" for part in ("pods", "redis") for field in ("runAsUser", "runAsGroup", "fsGroup")]
    for _, pod in render(ALL, *nobody).pod_specs():
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_volumes_of_your_own_are_beside_the_charts(render: Render) -> None:
    given = [f"pods.extraVolumes[0].{each}" for each in ("name=ca", "configMap.name=ca")]
    given += [f"pods.extraVolumeMounts[0].{each}" for each in ("name=ca", "mountPath=/ca")]
    for (name, pod), (_, before) in zip(render(ALL, *given).pod_specs(), render(ALL).pod_specs(), strict=True):
        assert pod["volumes"] == [*before["volumes"], {"name": "ca", "configMap": {"name": "ca"}}], name
        mounts = [each["containers"][0]["volumeMounts"] for each in (pod, before)]
        assert mounts[0] == [*mounts[1], {"name": "ca", "mountPath": "/ca"}], name


def test_a_digest_takes_the_place_of_the_tag(render: Render) -> None:
    digest = "sha256:" + "0" * 64
    values = [f"{part}.image.digest={digest}" for part in (*WORKLOADS, "agent")]
    pods = dict(render(*values, ALL, "image.tag=1.2").pod_specs())
    images = [pods[name]["containers"][0]["image"] for name in WORKLOADS.values()]
    images.append(environment(pods["snakepit-operator"])["SNAKEPIT_AGENT_IMAGE"])
    names = ("snakepit/operator", "snakepit/control-plane", "snakepit/gateway", "docker.io/valkey/valkey", "snakepit/agent")
    assert images == [f"{name}@{digest}" for name in names]
    with pytest.raises(Refused, match="does not match pattern"):
        render("operator.image.digest=latest")


@pytest.mark.parametrize("part", ["controlPlane", "gateway"])
def test_with_autoscaling_the_replicas_are_the_autoscalers(render: Render, part: str) -> None:
    objects = render(ALL, f"{part}.autoscaling.enabled=true", f"{part}.autoscaling.maxReplicas=9")
    assert "replicas" not in objects.get("Deployment", WORKLOADS[part])["spec"]
    (scaler,) = [each["spec"] for each in objects.of("HorizontalPodAutoscaler")]
    assert scaler["scaleTargetRef"]["name"] == WORKLOADS[part]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 9)
    objects.get(scaler["scaleTargetRef"]["kind"], scaler["scaleTargetRef"]["name"])
    assert not render(ALL).of("HorizontalPodAutoscaler")


def test_accounts_of_your_own_have_the_rights_and_are_known_to_the_control_plane(render: Render) -> None:
    mine = [
        f"{part}.serviceAccount.{field}" for part in ("operator", "controlPlane") for field in ("create=false", f"name=my-{part.lower()}")
    ]
    objects = render(*mine)
    assert not objects.of("ServiceAccount")
    bound = {binding["subjects"][0]["name"] for kind in ("RoleBinding", "ClusterRoleBinding") for binding in objects.of(kind)}
    used = [pod.get("serviceAccountName") for _, pod in objects.pod_specs() if "serviceAccountName" in pod]
    assert bound == set(used) == {"my-operator", "my-controlplane"}
    known = environment(dict(objects.pod_specs())["snakepit-control-plane"])["SNAKEPIT_AUTH_OPERATOR"]
    assert known == "system:serviceaccount:snakepit-system:my-operator"


def test_rights_can_be_left_to_somebody_else(render: Render) -> None:
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} & render("rbac.create=false").kinds()


# -- helm test ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "namespace"), [((), "snakepit-system"), (("watchNamespaces={team,other}",), "team")])
def test_the_test_is_a_pool_where_pools_are_looked_after_and_a_pod_that_calls_it(
    render: Render, values: tuple[str, ...], namespace: str
) -> None:
    hooks = [each for each in render(*values, hooks=True) if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    order = sorted(hooks, key=lambda each: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]))
    assert [each["kind"] for each in order] == ["ConfigMap", "Role", "RoleBinding", "SnakePool", "Pod"]
    code, _, _, pool, pod = order
    assert (code["metadata"]["namespace"], pool["metadata"]["namespace"], pod["metadata"]["namespace"]) == (
        namespace,
        namespace,
        "snakepit-system",
    )
    load_pools(yaml.dump(pool))
    (file,) = code["data"]
    assert pool["spec"]["worker"]["adapter"].partition(":")[0] == file.removesuffix(".py")
    assert f"{namespace}/{pool['metadata']['name']}" in pod["spec"]["containers"][0]["args"]
    for each in order:
        assert "hook-succeeded" in each["metadata"]["annotations"]["helm.sh/hook-delete-policy"]


# -- the CRD -----------------------------------------------------------------------------------------------------------


def test_the_crd_is_the_generated_one_and_stays_on_uninstall(render: Render) -> None:
    crd = render().get("CustomResourceDefinition", "snakepools.snakepit.dev")
    assert crd["spec"] == yaml.safe_load(CRD.read_text())["spec"]
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert crd["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_the_crd_can_be_left_to_somebody_else(render: Render) -> None:
    assert "CustomResourceDefinition" not in render("crds.enabled=false").kinds()


def test_objects_have_the_standard_labels(render: Render) -> None:
    objects: Objects = render(*EVERYTHING)
    for each in objects:
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "snakepit", each["kind"]
        assert labels["helm.sh/chart"].startswith("snakepit-"), each["kind"]
