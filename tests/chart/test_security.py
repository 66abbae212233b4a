"""What the chart's pods are, whom they prove to be, and what its components may do with the API server."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from snakepit_control_plane import settings as control_plane_settings
from snakepit_operator import settings as operator_settings
from support.chart import CHART, EVERYTHING, Manifest, Refused, Render, containers, environment
from support.scripts import imported

ROOT = CHART.parents[1]


@pytest.mark.parametrize("values", [(), EVERYTHING], ids=["defaults", "everything on"])
def test_every_pod_passes_pod_security_restricted(render: Render, values: tuple[str, ...]) -> None:
    objects = render(*values, hooks=True)
    for name, pod in [*objects.pod_specs(), *((each["metadata"]["name"], each["spec"]) for each in objects.of("Pod"))]:
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys(), name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any("hostPath" in volume for volume in pod.get("volumes", [])), name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert not context.get("privileged"), name


def test_users_are_numbers_so_that_the_kubelet_can_tell_they_are_not_root(render: Render) -> None:
    users = {name: pod["securityContext"]["runAsUser"] for name, pod in render("gateway.enabled=true").pod_specs()}
    assert users == {f"snakepit-{each}": 65532 for each in ("operator", "control-plane", "gateway")} | {"snakepit-redis": 999}


def test_only_the_operator_has_the_usual_service_account_token(render: Render) -> None:
    assert [name for name, pod in render("gateway.enabled=true").pod_specs() if pod["automountServiceAccountToken"]] == [
        "snakepit-operator"
    ]
    assert not any(account["automountServiceAccountToken"] for account in render("gateway.enabled=true").of("ServiceAccount"))


def test_agents_and_the_operator_prove_to_the_control_plane_who_they_are(render: Render) -> None:
    pods = dict(render(release="mine", namespace="team").pod_specs())
    wanted = control_plane_settings.from_environment(environment(pods["mine-snakepit-control-plane"])).authentication
    assert wanted is not None
    assert wanted.operator == f"system:serviceaccount:team:{pods['mine-snakepit-operator']['serviceAccountName']}"
    operator = operator_settings.load(environment(pods["mine-snakepit-operator"]) | {"POD_NAMESPACE": "team"})
    assert operator.agent.audience == wanted.audience == "mine-snakepit.team"
    token, api_server = (tokens(pods[name]) for name in ("mine-snakepit-operator", "mine-snakepit-control-plane"))
    assert token == {operator.token_file: wanted.audience}
    assert api_server == {wanted.token_file: ""}, "the control plane's own token is for the API server, and nobody else has one"
    assert tokens(pods["mine-snakepit-redis"]) == {}


def test_authentication_may_be_off_and_nothing_else(render: Render) -> None:
    off = render("authentication=off", "gateway.enabled=true")
    assert not any(tokens(pod) for _, pod in off.pod_specs())
    assert not any("AUTH" in name or "TOKEN" in name for _, pod in off.pod_specs() for name in environment(pod))
    assert not any("control-plane" in each["metadata"]["name"] for each in off.of("ClusterRoleBinding"))
    with pytest.raises(Refused, match="authentication"):
        render("authentication=maybe")


def tokens(pod: Manifest) -> dict[str, str]:
    """Paths of the tokens that are mounted into a pod's container, and for whom they are."""
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    return {
        f"{mounts[volume['name']]}/{source['serviceAccountToken']['path']}": source["serviceAccountToken"].get("audience", "")
        for volume in pod.get("volumes", [])
        for source in volume.get("projected", {}).get("sources", [])
        if "serviceAccountToken" in source
    }


def test_every_container_has_requests_and_a_memory_limit(render: Render) -> None:
    for name, pod in render("gateway.enabled=true").pod_specs():
        for container in containers(pod):
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name


@pytest.fixture(scope="module")
def rights() -> ModuleType:
    sys.path.append(str(ROOT / "hack"))
    return imported(ROOT / "hack/rights.py")


def test_the_table_of_our_own_components_rights_is_todays(render: Render, rights: ModuleType) -> None:
    """That each is needed, and none is missing, tests/integration/operator/test_rights.py says."""
    assert rights.of(render) in (ROOT / "docs/security.md").read_text(), "run make docs"


def test_watching_named_namespaces_takes_no_cluster_role_and_the_same_rights(render: Render, rights: ModuleType) -> None:
    objects = render("watchNamespaces={one,two}", "crds.enabled=false")
    assert not {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"} & objects.kinds()
    one, other, everywhere = (
        {each._replace(where="") for each in rights.given(of) if each.verb and each.where == where}
        for of, where in ((objects, "one"), (objects, "two"), (render("bindCallers=false"), ""))
    )
    # Users and groups are in no namespace, so that a gateway's right to pass them on can't be asked for there.
    assert one == other == {each for each in everywhere if each.of != "subjectaccessreviews.authorization.k8s.io"}
    assert {b["metadata"]["namespace"] for b in objects.of("RoleBinding")} == {"one", "two", "snakepit-system"}
    assert environment(dict(objects.pod_specs())["snakepit-operator"])["WATCH_NAMESPACES"] == "one,two"


def test_the_lease_goes_with_the_release(render: Render) -> None:
    name = environment(dict(render().pod_specs())["snakepit-operator"])["SNAKEPIT_LEASE_NAME"]
    assert "spec" not in render().get("Lease", name), "an upgrade would take the lead away from whoever has it"


def test_every_binding_gives_a_role_that_is_there_to_a_component_of_ours(render: Render) -> None:
    for values in ((), ("watchNamespaces={one}",)):
        objects = render(*values)
        for binding in [*objects.of("RoleBinding"), *objects.of("ClusterRoleBinding")]:
            if binding["roleRef"]["name"].startswith("system:"):
                continue
            objects.get(binding["roleRef"]["kind"], binding["roleRef"]["name"])
            component = "control-plane" if "control-plane" in binding["metadata"]["name"] else "operator"
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"snakepit-{component}", "namespace": "snakepit-system"}]
