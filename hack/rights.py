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
OTHERWISE = ("metricsApi.enabled=true", "networkPolicy.enabled=false", "gateway.enabled=true")
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
    "secrets": "certificates of ours and who signs them; with `tls.secretName` or `tls.issuerRef` it is `get` alone, of one",
    "services": "what the release's own Secrets are taken away with",
    "localsubjectaccessreviews.authorization.k8s.io": "what a caller may do",
    "control-plane: subjectaccessreviews.authorization.k8s.io": "whether a gateway may pass its callers' identities on",
    "operator: subjectaccessreviews.authorization.k8s.io": "who may read the numbers for an autoscaler",
    "extension-apiserver-authentication-reader": "by which certificate the API server is known",
    "system:service-account-issuer-discovery": "the public keys of tokens",
}
"""What each is for, where need be of one component. A right that is given and isn't here has no reason."""


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
    verbs: dict[tuple[Right, str], set[str]] = {}
    for right in sorted(when, key=lambda each: (each.who, each.where, each.of, each.called)):
        verbs.setdefault((right._replace(verb=""), when[right]), set()).add(right.verb)
    names: dict[tuple[Right, str, str], list[str]] = {}
    for (of, only), may in verbs.items():
        names.setdefault((of._replace(called=""), ", ".join(sorted(may)), only), []).append(of.called)
    lines = [
        f"| {of.who} | {may} | {_what(of, may, called)} | {_where(of, may)} | {_why(of) + only} |"
        for (of, may, only), called in names.items()
    ]
    return "\n".join(["| component | may | what | where | for |", "|---|---|---|---|---|", *lines, ""])


def _what(of: Right, may: str, called: list[str]) -> str:
    if not may:
        return f"as Kubernetes' role `{of.of}`"
    return f"`{of.of}`" + (f" named {' and '.join(f'`{each}`' for each in called)}" if any(called) else "")


def _why(of: Right) -> str:
    return FOR.get(f"{of.who}: {of.of}") or FOR[of.of]


def _where(of: Right, may: str) -> str:
    return f"`{of.where}`" if of.where else "where pools are" if may else "the cluster"
