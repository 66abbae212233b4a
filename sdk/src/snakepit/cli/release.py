"""Which release in a cluster is meant: kubectl lists their Services, and the names that were given choose one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from snakepit.cli.config import Kube
from snakepit.cli.kubectl import asked, everywhere
from snakepit.errors import InvalidArguments, ServerUnavailable

SELECTOR = "app.kubernetes.io/part-of=snakepit,app.kubernetes.io/component=control-plane"
PORT = "grpc"
AUDIENCE = "snakepit.dev/audience"
CA = "snakepit.dev/ca"


class Service(msgspec.Struct, frozen=True):
    """The Service of a release that callers use."""

    namespace: str
    name: str
    release: str
    port: int
    audience: str = ""
    """For whom callers' tokens are; empty: none are asked for."""
    ca: str = ""
    """The ConfigMap beside it that has its CA's certificate; empty: it has no TLS."""

    @property
    def server_name(self) -> str:
        """Whom its certificate names."""
        return f"{self.name}.{self.namespace}"


def chosen(services: Sequence[Service], kube: Kube) -> Service:
    """Choose the Service that is meant: of the release that was named, in the namespace that was named, or the only one."""
    found = [each for each in services if kube.release in (None, each.release, f"{each.namespace}/{each.release}")]
    if len(found) > 1:
        found = [each for each in found if each.namespace == kube.namespace] or found
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(f"{each.namespace}/{each.release}" for each in found or services))
    if found:
        raise InvalidArguments(f"there are several releases, {names}: say which with --release NAMESPACE/RELEASE, or with -n NAMESPACE")
    where = f"the context {kube.context}" if kube.context else "kubectl's current context"
    if services:
        raise ServerUnavailable(f"no release in {where} is named {kube.release!r}: there is {names}")
    raise ServerUnavailable(f"no release of Snakepit was found in {where}: is the chart installed there? (no Service has {SELECTOR})")


def services_of(listed: dict[str, Any]) -> list[Service]:
    """Read kubectl's list. The headless Service is left out: it is for agents."""
    found = []
    for item in listed.get("items", []):
        metadata, spec = item["metadata"], item["spec"]
        ports = [each["port"] for each in spec.get("ports", []) if each.get("name") == PORT]
        if spec.get("clusterIP") != "None" and ports:
            release = metadata.get("labels", {}).get("app.kubernetes.io/instance", metadata["name"])
            annotations = metadata.get("annotations") or {}
            said = (annotations.get(name, "") for name in (AUDIENCE, CA))
            found.append(Service(metadata["namespace"], metadata["name"], release, ports[0], *said))
    return found


async def replicas(kubectl: list[str], service: Service) -> tuple[list[str], str]:
    """The names of the release's replicas of the control plane that are ready, by kubectl's list of pods; else none, and why."""
    of = f"{SELECTOR},app.kubernetes.io/instance={service.release}"
    text, problem = await asked([*kubectl, "get", "pods", "-n", service.namespace, "-l", of, "-o", "json"])
    if problem:
        return [], problem
    try:
        return ready_pods(msgspec.json.decode(text)), ""
    except (msgspec.DecodeError, KeyError, AttributeError, TypeError) as error:
        return [], f"its list of pods can't be read: {error!r}"


def ready_pods(listed: dict[str, Any]) -> list[str]:
    """Read kubectl's list: the names of pods that are ready and are not ending."""
    return sorted(
        each["metadata"]["name"]
        for each in listed.get("items", [])
        if "deletionTimestamp" not in each["metadata"]
        and any((one["type"], one["status"]) == ("Ready", "True") for one in each.get("status", {}).get("conditions", []))
    )


async def services(kubectl: list[str], kube: Kube) -> list[Service]:
    """List the Services of all namespaces, or of one where the account may not list all."""
    words = ["get", "services", "-l", SELECTOR, "-o", "json"]
    text, problem = await everywhere(lambda *where: asked([*kubectl, *words, *where]), kube.namespace)
    if problem:
        raise ServerUnavailable(f"kubectl can't list the cluster's Services: {problem}")
    try:
        return services_of(msgspec.json.decode(text))
    except (msgspec.DecodeError, KeyError, AttributeError) as error:
        raise ServerUnavailable(f"kubectl's list of Services can't be read: {error!r}") from error
