"""Whatever a PodTemplateSpec can say, as the API server itself lists it, is in the pod, or is refused by its name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.admin import Admin, Refused
from support.api_server import SYSTEM

CORE = "io.k8s.api.core.v1"
TERM = {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}
VALUES: dict[str, Any] = {
    "metadata.annotations": {"a": "b"},
    "metadata.labels": {"a": "b"},
    "spec.activeDeadlineSeconds": 600,
    "spec.affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [TERM]}},
    "spec.dnsConfig": {"nameservers": ["10.0.0.10"]},
    "spec.dnsPolicy": "Default",
    "spec.hostAliases": [{"ip": "10.1.2.3", "hostnames": ["proxy"]}],
    "spec.imagePullSecrets": [{"name": "registry"}],
    "spec.initContainers": [{"name": "fetch", "image": "example/fetch:1"}],
    "spec.os": {"name": "linux"},
    "spec.preemptionPolicy": "PreemptLowerPriority",
    "spec.priority": 0,
    "spec.readinessGates": [{"conditionType": "example.com/gate"}],
    "spec.resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
    "spec.resources": {"requests": {"cpu": "1"}},
    "spec.schedulingGates": [{"name": "example.com/gate"}],
    "spec.securityContext": {"fsGroup": 7, "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "0"}]},
    "spec.serviceAccount": "author",
    "spec.tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
    "spec.topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
    "spec.volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
    "containers[].env": [{"name": "HOME", "value": "/home/$(USER)"}],
    "containers[].envFrom": [{"secretRef": {"name": "keys", "optional": True}}],
    "containers[].imagePullPolicy": "Never",
    "containers[].lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
    "containers[].livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 30},
    "containers[].ports": [{"containerPort": 8080, "name": "web"}],
    "containers[].readinessProbe": {"tcpSocket": {"port": 8080}},
    "containers[].resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
    "containers[].resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}},
    "containers[].securityContext": {"readOnlyRootFilesystem": False, "capabilities": {"add": ["SYS_PTRACE"]}},
    "containers[].startupProbe": {"grpc": {"port": 8080}},
    "containers[].terminationMessagePolicy": "FallbackToLogsOnError",
    "containers[].volumeMounts": [{"name": "snakepit-tmp", "mountPath": "/scratch"}],
}
"""What a field is tried with; every other one is tried with any value of its type."""

REFUSED = {
    "spec.restartPolicy",
    "spec.terminationGracePeriodSeconds",
    "spec.ephemeralContainers",
    "spec.hostPID",
    "spec.shareProcessNamespace",
    "spec.priorityClassName",
    "spec.runtimeClassName",
}
"""Of a PodSpec, what no capsule can have; and two that name what isn't there."""
OTHERWISE = {"priorityClassName": "PriorityClass", "runtimeClassName": "RuntimeClass", "restartPolicyRules": "restart rules"}
"""Fields that the API server names by other words."""
GATED = {"spec.workloadRef"}
"""What the API server itself drops of every pod, as the feature is off."""


def example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Any value of that type."""
    if (found := schema.get("allOf", [schema])[0].get("$ref")) is not None:
        schema = schemas[found.rpartition("/")[2]]
    match schema.get("type"):
        case "string":
            return "2026-11-29T00:00:00Z" if schema.get("format") == "date-time" else "name"
        case "integer":
            return 5
        case "boolean":
            return True
        case "array":
            return [example(schema["items"], schemas)]
        case _:
            required = {name: example(schema["properties"][name], schemas) for name in schema.get("required", ())}
            return required or ({"a": "b"} if "additionalProperties" in schema else {})


def fields(schemas: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field, and a template that says it."""
    for part, kind in (("metadata", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"), ("spec", f"{CORE}.PodSpec")):
        for name, schema in schemas[kind]["properties"].items():
            path = f"{part}.{name}"
            if path not in GATED | {"spec.containers", "spec.overhead"}:
                yield path, {part: {name: VALUES.get(path, example(schema, schemas))}}
    for name, schema in schemas[f"{CORE}.Container"]["properties"].items():
        path = f"containers[].{name}"
        value = VALUES.get(path, example(schema, schemas))
        if name not in ("name", "image"):
            for kind, own in (("containers", "worker"), ("initContainers", "fetch")):
                yield f"{kind}[{own}].{name}", {"spec": {kind: [{"name": own, "image": "example/digits:1", name: value}]}}


def has(found: Any, said: Any) -> bool:
    """Is all of it there? Kubernetes and the operator may have added something."""
    if isinstance(said, dict):
        return isinstance(found, dict) and all(name in found and has(found[name], value) for name, value in said.items())
    if isinstance(said, list):
        return isinstance(found, list) and all(any(has(each, one) for each in found) for one in said)
    return bool(found == said)


async def test_every_field_of_a_pod_template_is_in_the_pod_or_refused_by_its_name(kube: Kube, admin: Admin) -> None:
    settings = Settings(namespace=SYSTEM, identity="me", agent=AgentImage(image="agent:1"), watch_namespaces=(admin.namespace,))
    operator = Reconciler(kube, settings, Fleet("127.0.0.1:1", lambda pool, essential: None))
    schemas = (await admin.ask("GET", "/openapi/v3/api/v1"))["components"]["schemas"]
    refused, lost = {}, {}
    count = 0
    for path, template in fields(schemas):
        count += 1
        name = f"t{count}"
        try:
            await admin.make_pool(name, replicas=1, template=template)
        except Refused as error:
            refused[path] = str(error)
            continue
        await operator.reconcile(f"{admin.namespace}/{name}", time.time())
        pods = (await admin.ask("GET", f"{admin.path('pods')}?labelSelector=snakepit.dev/pool%3D{name}"))["items"]
        if pods:
            if not has(pods[0], template):
                lost[path] = pods[0]
        else:
            (said,) = [each["message"] for each in (await admin.pool(name))["status"]["conditions"] if each["type"] == "Degraded"]
            refused[path] = said
        await admin.delete("snakepools", name)
    assert count > 80
    assert not lost, lost
    names = {path: path.rpartition(".")[2] for path in refused}
    assert not {path: said for path, said in refused.items() if OTHERWISE.get(names[path], names[path]) not in said}
    assert {path for path in refused if path.startswith("spec.")} == REFUSED


async def test_capsules_run_under_the_runtime_class_of_their_template(kube: Kube, admin: Admin) -> None:
    """As gVisor's and Kata's, which are sandboxes: a process is none."""
    gvisor = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"}
    await admin.ask("POST", "/apis/node.k8s.io/v1/runtimeclasses", gvisor)
    settings = Settings(namespace=SYSTEM, identity="me", agent=AgentImage(image="agent:1"), watch_namespaces=(admin.namespace,))
    await admin.make_pool("boxed", replicas=1, template={"spec": {"runtimeClassName": "gvisor"}})
    operator = Reconciler(kube, settings, Fleet("127.0.0.1:1", lambda pool, essential: None))
    await operator.reconcile(f"{admin.namespace}/boxed", time.time())
    (made,) = (await admin.ask("GET", f"{admin.path('pods')}?labelSelector=snakepit.dev/pool%3Dboxed"))["items"]
    assert made["spec"]["runtimeClassName"] == "gvisor"
