"""What the chart renders, against a real API server: every object with every pair of settings, installs, upgrades, and who may do them."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakepit._names import new_id
from support.api_server import ADMIN, SYSTEM, ApiServer
from support.chart import CHART, Refused, parse
from support.pages import blocks
from support.scripts import imported

Run = Callable[..., str]
Values = dict[str, Any]

ROOT = CHART.parents[1]

DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE = {"repository": "mirror.example/one", "digest": DIGEST, "pullPolicy": "Always"}
OUTSIDE = {"ipBlock": {"cidr": "192.0.2.0/24"}}
NODE = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}
PODS: Values = {
    "labels": {"team": "one"},
    "annotations": {"reloader": "true"},
    "podLabels": {"team": "one"},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "revisionHistoryLimit": 3,
    "extraEnv": [
        {"name": "HTTP_PROXY", "value": "http://proxy:3128"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/own", "readOnly": True}],
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [NODE]}]}}},
    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": "system-cluster-critical",
    "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["proxy"]}],
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "2"}]},
}
NOBODY = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
COMPONENTS = ("operator", "controlPlane", "gateway", "redis")
ACCOUNTS = ("operator", "controlPlane", "gateway")
AXES: dict[str, list[Values]] = {
    "who is who": [{}, {"authentication": "off"}],
    "the CRD": [{}, {"crds": {"enabled": False}}],
    "namespaces": [{}, {"watchNamespaces": ["one", "two"]}],
    "store": [
        {},
        {"redis": {"persistence": {"enabled": True, "storageClassName": "fast", "size": "5Gi"}, "extraArgs": ["--appendfsync", "always"]}},
        {"redis": {"replicas": 3, "command": ["redis-server"], "persistence": {"enabled": True}}},
        {"redis": {"url": "rediss+sentinel://a:26379/main/0", "tlsSecret": "certificates"}},
        {"redis": {"existingSecret": "store"}},
        {"redis": {"passwordSecret": "password"}},
    ],
    "accounts": [
        {},
        {name: {"serviceAccount": {"annotations": {"iam": "role"}, "name": f"my-{name.lower()}"}} for name in ACCOUNTS},
        {name: {"serviceAccount": {"create": False}} for name in ACCOUNTS},
    ],
    "rights": [{}, {"rbac": {"create": False}}],
    "replicas": [
        {},
        {"controlPlane": {"replicas": 0, "podDisruptionBudget": {"enabled": False}}},
        {"controlPlane": {"autoscaling": {"enabled": True, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}}},
        {"controlPlane": {"podDisruptionBudget": {"maxUnavailable": "50%"}}},
    ],
    "pods": [{}, {"pods": PODS}, dict.fromkeys(COMPONENTS, PODS), {"pods": NOBODY, "redis": NOBODY}],
    "images": [
        {},
        {"global": {"imageRegistry": "mirror.example:5000", "imagePullSecrets": ["one", {"name": "two"}]}},
        {"image": {"registry": "own.example", "tag": "1.0"}, "imagePullSecrets": ["one"], "agent": {"pullSecrets": ["two"]}},
        {
            **{name: {"image": IMAGE} for name in (*COMPONENTS, "agent")},
            "test": {"image": IMAGE, "workerImage": IMAGE},
        },
    ],
    "metrics API": [
        {},
        {"metricsApi": {"enabled": True}},
        {"metricsApi": {"enabled": True, "certificate": {"existingSecret": "mine", "caBundle": "PEM"}}},
    ],
    "gateway": [
        {},
        {"gateway": {"enabled": True, "service": {"type": "LoadBalancer", "annotations": {"internal": "true"}}}},
        {
            "gateway": {
                "enabled": True,
                "autoscaling": {"enabled": True},
                "console": False,
                "mcp": False,
                "cors": ["https://app.example.com"],
            }
        },
        {"gateway": {"enabled": True, "tls": {"enabled": False}}, "networkPolicy": {"gateway": [{"namespaceSelector": {}}]}},
    ],
    "KEDA": [{}, {"keda": {"enabled": True}}],
    "Service": [{}, {"controlPlane": {"service": {"type": "LoadBalancer", "annotations": {"internal": "true"}}}}],
    "telling": [
        {},
        {
            "logLevel": "debug",
            "metrics": {"annotations": False},
            "otel": {"env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4317"}]},
        },
    ],
    "tls": [
        {"tls": {"enabled": False}},
        {"tls": {"enabled": True, "dnsNames": ["pools.example.com"]}},
        {"tls": {"enabled": True, "secretName": "own"}, "gateway": {"tls": {"secretName": "own-gateway"}}},
    ],
    "network": [
        {},
        {"networkPolicy": {"enabled": False}},
        {
            "networkPolicy": {
                "capsules": "open",
                "callers": [],
                "scrapers": None,
                "egress": [{"to": [OUTSIDE], "ports": [{"port": 4317}]}, {"to": [OUTSIDE], "ports": [{"port": "dns", "protocol": "UDP"}]}],
                "redis": [OUTSIDE],
                "keda": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "keda"}}}],
                "apiServer": {"at": [OUTSIDE], "ports": [6443]},
                "dns": {"to": [{"namespaceSelector": {}}], "ports": [53, 5353]},
            }
        },
    ],
    "names": [{}, {"commonLabels": {"cost": "42", "app.kubernetes.io/part-of": "platform"}, "fullnameOverride": "pits"}],
}


@pytest.fixture(scope="module")
def watched(run: Run) -> None:
    for name in ("one", "two"):
        run("kubectl", "create", "namespace", name)


def merged(*given: Values) -> Values:
    """All of them in one, as helm does it."""
    found: Values = {}
    for values in given:
        for name, value in values.items():
            both = isinstance(value, dict) and isinstance(found.get(name), dict)
            found[name] = merged(found[name], value) if both else value
    return found


Choice = tuple[str, int]
Row = tuple[int, ...]


def rows() -> list[Row]:
    """Choices, one of each axis, until each pair of choices of two axes has been together."""
    choices = {axis: [(axis, number) for number in range(len(each))] for axis, each in AXES.items()}
    left = {frozenset(pair) for one, other in itertools.combinations(choices.values(), 2) for pair in itertools.product(one, other)}
    draw, found = random.Random(13), []
    while left:
        best = max((tuple(draw.randrange(len(each)) for each in AXES.values()) for _ in range(300)), key=lambda row: len(left & pairs(row)))
        left -= pairs(best)
        found.append(best)
    return found


def pairs(row: Row) -> set[frozenset[Choice]]:
    return {frozenset(pair) for pair in itertools.combinations(zip(AXES, row, strict=True), 2)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: "".join(map(str, row)))
def test_the_api_server_takes_every_object_with_every_pair_of_settings(row: Row, run: Run, watched: None, tmp_path: Path) -> None:
    values = merged(*(choices[number] for choices, number in zip(AXES.values(), row, strict=True)))
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    rendered = run("helm", "template", "matrix", str(CHART), "-n", SYSTEM, "-f", str(file), "--kube-version", "v1.35.0")
    checked = run(
        "kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered
    )
    assert len(checked.splitlines()) == len(parse(rendered)) > 5, values


def test_an_unknown_field_would_be_found(run: Run) -> None:
    """Else the test above would find nothing."""
    wrong = run("helm", "template", "matrix", str(CHART), "-n", SYSTEM).replace("livenessProbe:", "livenessProb:", 1)
    with pytest.raises(Refused, match="livenessProb"):
        run("kubectl", "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=wrong)


# -- the volume of Redis -----------------------------------------------------------------------------------------------

CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "usual", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "example.com/disks",
}


@pytest.fixture
def install(run: Run) -> Iterator[Callable[..., str]]:
    """`install("a=b")`: of the release `mine` in a namespace of its own, or an upgrade of it; what helm prints."""
    namespace = f"install-{new_id()[:10].lower()}"
    run("kubectl", "create", "namespace", namespace)

    def helm(*values: str, words: tuple[str, ...] = ()) -> str:
        sets = [part for value in ("crds.enabled=false", *values) for part in ("--set", value)]
        return run("helm", "upgrade", "--install", "mine", str(CHART), "-n", namespace, *sets, *words)

    helm.namespace = namespace  # type: ignore[attr-defined]
    yield helm
    run("helm", "uninstall", "mine", "-n", namespace, "--ignore-not-found", "--no-hooks")


@pytest.fixture
def storage_class(run: Run) -> Iterator[None]:
    run("kubectl", "apply", "-f", "-", stdin=json.dumps(CLASS))
    yield
    run("kubectl", "delete", "storageclass", "usual", "--ignore-not-found")


def redis(run: Run, install: Any) -> Any:
    return json.loads(run("kubectl", "get", "statefulset", "mine-snakepit-redis", "-n", install.namespace, "-o", "json"))


def has_volume(run: Run, install: Any) -> bool:
    spec = redis(run, install)["spec"]
    args = spec["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--appendonly") + 1] == ("yes" if "volumeClaimTemplates" in spec else "no")
    return "volumeClaimTemplates" in spec


LOSES = "Sessions vanish with the Redis pod"


def test_redis_has_a_volume_where_there_is_a_default_storage_class_and_keeps_it(run: Run, install: Any, storage_class: None) -> None:
    assert LOSES not in install()
    assert has_volume(run, install)
    run("kubectl", "delete", "storageclass", "usual")
    assert LOSES not in install("logLevel=debug")
    assert has_volume(run, install), "what a StatefulSet began with can't be changed"


def test_without_a_default_storage_class_the_notes_say_that_sessions_vanish_and_an_upgrade_finds_none_later(
    run: Run, install: Any, request: pytest.FixtureRequest
) -> None:
    assert LOSES in install()
    assert not has_volume(run, install)
    request.getfixturevalue("storage_class")
    assert LOSES in install("logLevel=debug")
    assert not has_volume(run, install)
    with pytest.raises(Refused, match=r"persistence\.enabled=true: the StatefulSet mine-snakepit-redis began without a volume.*kubectl -n"):
        install("redis.persistence.enabled=true")
    run("kubectl", "delete", "statefulset", "mine-snakepit-redis", "-n", install.namespace)
    assert LOSES not in install("redis.persistence.enabled=true")
    assert has_volume(run, install)


@pytest.mark.parametrize(("value", "volume"), [("true", True), ("false", False)])
def test_a_volume_may_be_wished_for_or_away(run: Run, install: Any, storage_class: None, value: str, volume: bool) -> None:
    install(f"redis.persistence.enabled={value}")
    assert has_volume(run, install) is volume


# -- the metrics API ---------------------------------------------------------------------------------------------------


def registered(run: Run) -> Any:
    return json.loads(run("kubectl", "get", "apiservice", "v1beta2.custom.metrics.k8s.io", "-o", "json"))["spec"]


def test_an_upgrade_keeps_the_certificate_that_the_api_server_knows_the_metrics_api_by(run: Run, install: Any) -> None:
    install("metricsApi.enabled=true")
    secret = ("kubectl", "get", "secret", "mine-snakepit-metrics-api", "-n", install.namespace, "-o", "jsonpath={.data}")
    before, data = registered(run)["caBundle"], run(*secret)
    install("metricsApi.enabled=true", "logLevel=debug")
    assert (registered(run)["caBundle"], run(*secret)) == (before, data)
    assert json.loads(data)["ca.crt"] == before
    run("kubectl", "delete", "secret", "mine-snakepit-metrics-api", "-n", install.namespace)
    install("metricsApi.enabled=true")
    assert registered(run)["caBundle"] == json.loads(run(*secret))["ca.crt"] != before
    install("metricsApi.enabled=false")
    assert run("kubectl", "get", "apiservice", "v1beta2.custom.metrics.k8s.io", "--ignore-not-found") == ""


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_another_server_of_that_api_is_not_pushed_aside(run: Run, install: Any, version: str) -> None:
    name = f"{version}.custom.metrics.k8s.io"
    service = {"name": "prometheus-adapter", "namespace": "monitoring"}
    spec = {"group": "custom.metrics.k8s.io", "version": version, "service": service, "groupPriorityMinimum": 100, "versionPriority": 100}
    theirs = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name}, "spec": spec}
    run("kubectl", "apply", "-f", "-", stdin=json.dumps(theirs))
    try:
        with pytest.raises(Refused, match="already, from the Service monitoring/prometheus-adapter"):
            install("metricsApi.enabled=true")
    finally:
        run("kubectl", "delete", "apiservice", name)


def test_redis_is_one_or_three_and_what_is_in_between_is_said_and_keeps_its_sessions(run: Run, install: Any) -> None:
    """There are no nodes here, so that which pods go on is not seen."""
    install("redis.persistence.enabled=true")
    with pytest.raises(
        Refused, match=r"replicas=3: the StatefulSet mine-snakepit-redis was made for another number.*--cascade=orphan\. Sessions stay"
    ):
        install("redis.persistence.enabled=true", "redis.replicas=3")
    run("kubectl", "delete", "statefulset", "mine-snakepit-redis", "-n", install.namespace)
    assert LOSES not in install("redis.persistence.enabled=true", "redis.replicas=3")
    assert redis(run, install)["spec"]["replicas"] == 3
    assert "at once: they have no volumes" not in install("redis.replicas=3", "logLevel=debug")
    with pytest.raises(Refused, match=r"replicas=1: .*with its pods: kubectl .* mine-snakepit-redis\. Sessions stay if it has volumes\."):
        install("redis.persistence.enabled=true", "redis.replicas=1")


# -- what the chart says of others' types, and of its own --------------------------------------------------------------


def test_kubernetes_types_in_the_values_are_those_of_this_api_server(run: Run) -> None:
    """Else `python hack/kubernetes_types.py` writes them anew."""
    types = imported(ROOT / "hack/kubernetes_types.py")
    served = {group: json.loads(run("kubectl", "get", "--raw", f"/openapi/v3/{group}")) for group in types.TYPES}
    assert types.text(served) == types.FILE.read_text()


def test_the_pool_that_artifact_hub_shows_is_one_that_the_api_server_takes(run: Run) -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    (example,) = yaml.safe_load(annotations["artifacthub.io/crdsExamples"])
    run("kubectl", "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=json.dumps(example))


# -- pools, kept as YAML -----------------------------------------------------------------------------------------------


def test_pools_are_backed_up_and_restored_as_the_document_types_it(run: Run, server: ApiServer, tmp_path: Path) -> None:
    """Over a pool that was changed since, and where it is gone."""
    back_up, restore = next(
        each.text for each in blocks("docs/operations.md", "sh", "Back up and restore") if "get sp" in each.text
    ).splitlines()
    own = {"KUBECONFIG": str(server.kubeconfig(ADMIN)), "PATH": f"{server.programs}:{os.environ['PATH']}"}

    def typed(line: str) -> None:
        words = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(words, cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def replicas() -> int:
        return int(run("kubectl", "get", "sp/kept", "-n", "backed-up", "-o", "jsonpath={.spec.replicas}"))

    run("kubectl", "create", "namespace", "backed-up")
    spec = {"worker": {"adapter": "kept.tools:Kept"}, "replicas": 3}
    kind = {"apiVersion": "snakepit.dev/v1alpha1", "kind": "SnakePool"}
    run("kubectl", "apply", "-f", "-", stdin=json.dumps({**kind, "metadata": {"name": "kept", "namespace": "backed-up"}, "spec": spec}))
    typed(back_up)
    run("kubectl", "scale", "sp/kept", "-n", "backed-up", "--replicas=7")
    typed(restore)
    assert replicas() == 3
    run("kubectl", "delete", "sp/kept", "-n", "backed-up")
    typed(restore)
    assert replicas() == 3


# -- who may install ---------------------------------------------------------------------------------------------------


def test_who_may_do_everything_in_a_namespace_and_nothing_outside_of_it_can_install(run: Run, install: Any) -> None:
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    metadata = {"name": "tenant", "namespace": install.namespace}
    api = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": [everything]}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "tenant"},
        "subjects": [{"kind": "User", "name": "tenant", "apiGroup": api}],
    }
    for each in (role, binding):
        run("kubectl", "apply", "-f", "-", stdin=json.dumps(each))
    tenant = ("--kube-as-user", "tenant")
    with pytest.raises(Refused, match="forbidden"):
        install(words=tenant)
    own = f"watchNamespaces={{{install.namespace}}}"
    assert LOSES in install(own, words=tenant)
    assert LOSES in install(own, "logLevel=debug", words=tenant)
