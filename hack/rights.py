"""What our own components may do with the API server, as the chart gives it: the table in docs/security.md, for hack/docs.py.

helm renders the chart. Where there is no helm the table stays as it is, and tests/chart says later whether it is today's.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import go_tools
import yaml

CHART = Path(__file__).resolve().parent.parent / "charts/snakepit"
NAMESPACE = "snakepit-system"
PREFIX = "snakepit-"
"""Of the service accounts of ours."""
OTHERWISE = ("metricsApi.enabled=true", "networkPolicy.enabled=false", "tls.enabled=true")
"""Values with which there are others."""

FOR = {
    "snakepools.snakepit.dev": "pools, as people write them",
    "snakepools/status.snakepit.dev": "what a pool's owner is told",
    "pods": "capsules",
    "events": "what a pool's owner is told; why a capsule doesn't start",
    "poddisruptionbudgets.policy": "evictions take one capsule at a time",
    "leases.coordination.k8s.io": "who leads; whether another release that has a pool is still there",
    "networkpolicies.networking.k8s.io": "what capsules may dial",
    "rolebindings.rbac.authorization.k8s.io": "a pool's namespace may call its pools; with `bindCallers: false` it has none of this",
    "clusterroles.rbac.authorization.k8s.io": "of these bindings: no other role can be given by them",
    "configmaps": "by whom the control plane's certificate is signed",
    "secrets": "the control plane's certificate and who signs it; with `tls.secretName` or `tls.issuerRef` it is `get` alone, of one",
    "services": "what the release's own Secrets are taken away with",
    "localsubjectaccessreviews.authorization.k8s.io": "what a caller may do",
    "subjectaccessreviews.authorization.k8s.io": "who may read the numbers for an autoscaler; who may pass its callers' identities on",
    "extension-apiserver-authentication-reader": "by which certificate the API server is known",
    "system:service-account-issuer-discovery": "the public keys of tokens",
}
"""What each is for. A right that is given and isn't here has no reason."""


class Right(NamedTuple):
    """One verb. `of` is a resource with its group, `called` the one name that it is for; `where` a namespace, or all. A role of
    Kubernetes' own has no verb."""

    who: str
    verb: str
    of: str
    called: str = ""
    where: str = ""


Objects = Iterable[dict[str, Any]]


def given(objects: Objects) -> Iterator[Right]:
    """What the bindings among them give to the service accounts of ours."""
    every = list(objects)
    roles = {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in every}
    for each in every:
        if each["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        where, to = each["metadata"].get("namespace", ""), each["roleRef"]
        role = roles.get((to["kind"], where if to["kind"] == "Role" else "", to["name"]))
        for who in (subject["name"].removeprefix(PREFIX) for subject in each["subjects"] if subject["name"].startswith(PREFIX)):
            yield from _of(role, who, where) if role else [Right(who, "", to["name"], where=where)]


def _of(role: dict[str, Any], who: str, where: str) -> Iterator[Right]:
    for rule in role["rules"]:
        for group, resource, verb, name in itertools.product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
        ):
            yield Right(who, verb, f"{resource}.{group}".rstrip("."), name, where)


def rendered(helm: Path, *values: str) -> list[dict[str, Any]]:
    sets = [word for value in values for word in ("--set", value)]
    command = [helm, "template", "snakepit", CHART, "--skip-tests", "--kube-version", "v1.35.0", "--namespace", NAMESPACE, *sets]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def table() -> str | None:
    """None: there is no helm to make it."""
    helm = go_tools.find(go_tools.TOOLS["helm"])
    return of(lambda *values: rendered(helm, *values)) if helm else None


def of(render: Callable[..., Objects]) -> str:
    """`render(*values)`: the chart's objects. Raises KeyError for a right without a reason."""
    when = dict.fromkeys(given(render()), "")
    for value in OTHERWISE:
        for right in given(render(value)):
            when.setdefault(right, f" (with `{value}`)")
    rows: dict[tuple[str, ...], list[str]] = {}
    for right in sorted(when, key=lambda each: (each.who, each.where, each.of, each.called)):
        rows.setdefault((right.who, _what(right), _where(right), FOR[right.of] + when[right]), []).append(right.verb)
    lines = [f"| {who} | {', '.join(sorted(verbs))} | {what} | {where} | {why} |" for (who, what, where, why), verbs in rows.items()]
    return "\n".join(["| component | may | what | where | for |", "|---|---|---|---|---|", *lines, ""])


def _what(right: Right) -> str:
    if not right.verb:
        return f"as Kubernetes' role `{right.of}`"
    return f"`{right.of}`" + (f" named `{right.called}`" if right.called else "")


def _where(right: Right) -> str:
    return f"`{right.where}`" if right.where else "where pools are" if right.verb else "the cluster"
