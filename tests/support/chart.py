"""What helm renders, as objects that a test can ask for by kind and name."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

CHART = Path(__file__).resolve().parents[2] / "charts/snakepit"

EVERYTHING = (
    "metrics.serviceMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboards.enabled=true",
    "metrics.podMonitor.enabled=true",
    "redis.persistence.enabled=true",
    "redis.replicas=3",
    "imagePullSecrets={one}",
    "metricsApi.enabled=true",
    "keda.enabled=true",
    "tls.enabled=true",
    "controlPlane.autoscaling.enabled=true",
    "gateway.enabled=true",
    "gateway.autoscaling.enabled=true",
)
"""Values with which there is all that the chart may make of itself."""

Manifest = dict[str, Any]

DOT, ESCAPED = ".", "\\."


class Refused(Exception):
    """helm would not render the chart with these values; the message is helm's."""


class Objects(list[Manifest]):
    """Manifests, in the order in which helm wrote them."""

    def of(self, kind: str) -> list[Manifest]:
        return [each for each in self if each["kind"] == kind]

    def kinds(self) -> set[str]:
        return {each["kind"] for each in self}

    def get(self, kind: str, name: str) -> Manifest:
        """The one object of that kind and name. Raises LookupError."""
        found = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} objects are {kind} {name}; there are {[each['metadata']['name'] for each in self.of(kind)]}")
        return found[0]

    def pod_specs(self) -> Iterator[tuple[str, Manifest]]:
        """Name and PodSpec of everything that makes pods."""
        for each in self:
            if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
                yield each["metadata"]["name"], each["spec"]["template"]["spec"]

    def images(self) -> set[str]:
        """All that its pods run, those of pools, of `helm test`, and that the operator puts agents into."""
        pods = [*(pod for _, pod in self.pod_specs()), *(each["spec"] for each in self.of("Pod"))]
        pods += [each["spec"]["template"]["spec"] for each in self.of("SnakePool")]
        agent = environment(dict(self.pod_specs())["snakepit-operator"])["SNAKEPIT_AGENT_IMAGE"]
        return {agent, *(container["image"] for pod in pods for container in containers(pod))}


def check_values(values: Manifest) -> None:
    """Raises jsonschema.ValidationError, where helm would say that the chart's schema refuses them."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(_over(defaults, values), json.loads((CHART / "values.schema.json").read_text()))


def _over(defaults: Manifest, values: Manifest) -> Manifest:
    parts = {name for name, value in values.items() if isinstance(value, dict) and isinstance(defaults.get(name), dict)}
    return {**defaults, **values, **{name: _over(defaults[name], values[name]) for name in parts}}


Render = Callable[..., Objects]
"""`render("a=b", release=…, namespace=…)`: the objects of `helm template --set a=b`."""


def parse(text: str) -> Objects:
    return Objects(document for document in yaml.safe_load_all(text) if document)


def rendered(helm: Path, *values: str, release: str = "snakepit", namespace: str = "snakepit-system", hooks: bool = False) -> Objects:
    """What `helm template` makes with `--set` of each value; `hooks`: also the pods of `helm test`. Raises Refused."""
    words = ["template", release, CHART, "--kube-version", "v1.35.0", "--namespace", namespace, *(() if hooks else ("--skip-tests",))]
    words += [word for value in values for word in ("--set", value)]
    own = {**os.environ, "HOME": "/nonexistent"}  # without plugins and repositories of whoever tests
    done = subprocess.run([helm, *words], capture_output=True, text=True, timeout=60, check=False, env=own)
    if done.returncode:
        raise Refused(done.stderr)
    return parse(done.stdout)


def assignments(values: Any, path: str = "") -> Iterator[str]:
    """`a.b[0]=c` for each value of a values file, as `--set` takes them."""
    if isinstance(values, dict):
        for name, each in values.items():
            yield from assignments(each, f"{path}.{name.replace(DOT, ESCAPED)}".lstrip("."))
    elif isinstance(values, list):
        for index, each in enumerate(values):
            yield from assignments(each, f"{path}[{index}]")
    else:
        yield f"{path}={json.dumps(values) if isinstance(values, bool) else values}"


def environment(pod_spec: Manifest) -> dict[str, str]:
    """Of the first container; a variable that is not a plain value maps to an empty string."""
    return {each["name"]: each.get("value", "") for each in pod_spec["containers"][0]["env"]}


def containers(pod_spec: Manifest) -> list[Manifest]:
    return [*pod_spec.get("initContainers", []), *pod_spec["containers"]]


def rules(role: Manifest) -> dict[tuple[str, ...], set[str]]:
    """Of a Role: the verbs on each API group and resource, and on single objects where it names them."""
    return {
        (group, resource, *rule.get("resourceNames", [])): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def as_users_write_it(field: str) -> str:
    """A field of ours as a value of the chart, such as maxToolsPerClient."""
    first, *rest = field.split("_")
    return first + "".join(map(str.capitalize, rest))
