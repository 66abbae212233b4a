"""A capsule's pod: the author's wishes, our agent, and PodSecurity `restricted`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from snakepit.spec import decode_spec
from snakepit_operator.model import Creation
from snakepit_operator.pods import AgentImage, disruption_budget, in_template, labels, pod, problem
from support.operator_world import pool

AGENT = AgentImage(image="example/agent:1", env=({"name": "OTEL_SERVICE_NAME", "value": "agent"},), pull_secrets=("registry",))
CREATION = Creation("digits-0-abcde", 0, "0123456789", 2)


def made(**spec: Any) -> dict[str, Any]:
    return pod(pool(**spec), CREATION, AGENT)


def worker(of: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in of["spec"]["containers"] if each["name"] == "worker")


def agent(of: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = of["spec"]["initContainers"][0]
    return found


def env(of: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in of["env"]}


def test_the_agent_is_a_native_sidecar_and_starts_first() -> None:
    found = made(template={"spec": {"initContainers": [{"name": "fetch", "image": "example/fetch"}]}})
    assert [each["name"] for each in found["spec"]["initContainers"]] == ["snakepit-agent", "fetch"]
    assert agent(found)["restartPolicy"] == "Always"
    assert agent(found)["readinessProbe"]["grpc"] == {"port": 7802, "service": "ready"}


def test_the_agent_is_told_everything() -> None:
    told = env(agent(made(worker={"processes": 3})))
    assert told["SNAKEPIT_POOL"] == "default/digits"
    assert told["SNAKEPIT_CAPSULE"] == CREATION.name
    assert told["SNAKEPIT_POOL_GENERATION"] == "3"
    assert told["OTEL_SERVICE_NAME"] == "agent"
    of_pod = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in agent(made())["env"] if "valueFrom" in each}
    assert of_pod == {"SNAKEPIT_POD_UID": "metadata.uid", "SNAKEPIT_NODE": "spec.nodeName"}
    assert decode_spec(told["SNAKEPIT_SPEC"]).worker.processes == 3


def test_the_agent_may_have_what_the_pool_says_and_else_what_the_chart_says() -> None:
    usual, own = {"limits": {"memory": "256Mi"}}, {"limits": {"memory": "1Gi"}}
    installed = msgspec.structs.replace(AGENT, resources=usual)
    assert agent(pod(pool(), CREATION, installed))["resources"] == usual
    assert agent(pod(pool(agent={"resources": own}), CREATION, installed))["resources"] == own


def test_the_template_is_not_told_to_the_agent() -> None:
    assert "hush" not in json.dumps(
        agent(made(template={"spec": {"containers": [{"name": "worker", "env": [{"name": "A", "value": "hush"}]}]}}))
    )


def test_kubernetes_does_not_expand_what_an_author_wrote() -> None:
    found = made(worker={"adapter": "a:B"}, recycle={"maxMemory": "1Gi"})
    assert "$(" not in env(agent(found))["SNAKEPIT_SPEC"].replace("$$(", "")


def test_the_worker_runs_the_keeper_and_shares_only_the_socket_folder() -> None:
    found = made()
    assert worker(found)["command"] == ["snakepit-keeper"]
    assert worker(found)["image"] == "example/digits:1"
    assert {each["mountPath"] for each in worker(found)["volumeMounts"]} == {"/run/snakepit", "/tmp"}
    assert {"name": "snakepit-run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}} in found["spec"]["volumes"]


def test_no_token_reaches_the_pod_where_none_is_asked_for() -> None:
    assert made()["spec"]["automountServiceAccountToken"] is False
    assert "oken" not in json.dumps(made()["spec"]).replace("automountServiceAccountToken", "")


def test_the_agent_alone_has_a_token_and_it_is_good_for_nothing_but_this_pool() -> None:
    for kind in ("containers", "initContainers"):
        stolen = {kind: [{"name": "other", "volumeMounts": [{"name": "snakepit-token", "mountPath": "/mine"}]}]}
        assert problem(pool(template={"spec": stolen}).spec) is not None
    template = {"spec": {"containers": [{"name": "worker"}, {"name": "other"}], "initContainers": [{"name": "fetch"}]}}
    found = pod(pool(template=template), CREATION, msgspec.structs.replace(AGENT, audience="snakepit.system"))
    assert found["spec"]["automountServiceAccountToken"] is False
    token = {"path": "token", "audience": "snakepit.system/default/digits", "expirationSeconds": 3600}
    assert {"name": "snakepit-token", "projected": {"sources": [{"serviceAccountToken": token}]}} in found["spec"]["volumes"]
    containers = [*found["spec"]["initContainers"], *found["spec"]["containers"]]
    has_it = [each["name"] for each in containers if "snakepit-token" in json.dumps(each.get("volumeMounts", []))]
    assert has_it == ["snakepit-agent"]
    mount = next(each for each in agent(found)["volumeMounts"] if each["name"] == "snakepit-token")
    assert mount["readOnly"]
    assert env(agent(found))["SNAKEPIT_TOKEN_FILE"] == f"{mount['mountPath']}/token"


def test_the_agent_finds_the_control_planes_authority_beside_its_token_or_without_one() -> None:
    for audience, kinds in (("", ["configMap"]), ("snakepit.system", ["serviceAccountToken", "configMap"])):
        found = pod(pool(), CREATION, msgspec.structs.replace(AGENT, audience=audience, authority="snakepit-ca"))
        volume = next(each for each in found["spec"]["volumes"] if each["name"] == "snakepit-token")
        assert [next(iter(each)) for each in volume["projected"]["sources"]] == kinds
        assert volume["projected"]["sources"][-1] == {"configMap": {"name": "snakepit-ca"}}
        mount = next(each for each in agent(found)["volumeMounts"] if each["name"] == "snakepit-token")
        assert env(agent(found))["SNAKEPIT_CA_FILE"] == f"{mount['mountPath']}/ca.crt"
        assert "snakepit-token" not in json.dumps(found["spec"]["containers"])
    assert "SNAKEPIT_CA_FILE" not in env(agent(made()))


def test_every_container_passes_restricted() -> None:
    found = made(template={"spec": {"containers": [{"name": "helper", "image": "x"}], "initContainers": [{"name": "fetch", "image": "y"}]}})
    security = found["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["fsGroup"] == 2000
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*found["spec"]["containers"], *found["spec"]["initContainers"]):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"]["drop"] == ["ALL"]
        assert own["readOnlyRootFilesystem"] is True


def test_the_authors_own_values_win() -> None:
    template = {
        "metadata": {"labels": {"team": "vision", "app.kubernetes.io/component": "digits"}, "annotations": {"a": "b"}},
        "spec": {
            "securityContext": {"runAsUser": 1234},
            "nodeSelector": {"gpu": "yes"},
            "containers": [
                {
                    "name": "worker",
                    "image": "other",
                    "command": ["tini", "--", "snakepit-keeper"],
                    "env": [{"name": "HOME", "value": "/home/me"}],
                    "securityContext": {"readOnlyRootFilesystem": False},
                    "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }
    found = made(template=template)
    assert found["spec"]["securityContext"]["runAsUser"] == 1234
    assert found["spec"]["nodeSelector"] == {"gpu": "yes"}
    assert found["metadata"]["labels"]["team"] == "vision"
    assert found["metadata"]["labels"]["app.kubernetes.io/component"] == "digits"
    assert found["metadata"]["annotations"]["a"] == "b"
    assert worker(found)["command"] == ["tini", "--", "snakepit-keeper"]
    assert worker(found)["securityContext"]["readOnlyRootFilesystem"] is False
    assert env(worker(found))["HOME"] == "/home/me"
    assert [each["name"] for each in worker(found)["volumeMounts"]] == ["snakepit-run", "scratch"]


def test_what_must_be_ours_stays_ours() -> None:
    found = made(template={"spec": {"terminationGracePeriodSeconds": 1, "restartPolicy": "Never"}})
    assert found["spec"]["restartPolicy"] == "Always"
    assert found["spec"]["terminationGracePeriodSeconds"] == 76


WORKER = "spec.template.spec.containers[worker]"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"metadata": {"labels": {"snakepit.dev/pool": "stolen"}}}, "spec.template.metadata.labels[snakepit.dev/pool] is the operator's"),
        ({"metadata": {"annotations": {"snakepit.dev/attempt": "0"}}}, "spec.template.metadata.annotations[snakepit.dev/attempt] is"),
        ({"metadata": {"finalizers": ["example.com/hold"]}}, "spec.template.metadata.finalizers can't be set"),
        ({"metadata": {"lables": {}}}, "spec.template.metadata.lables can't be set"),
        ({"metadata": {"labels": ["a"]}}, "Expected `object | null`, got `array` - at `spec.template.metadata.labels`"),
        ({"spec": {"shareProcessNamespace": True}}, "spec.template.spec.shareProcessNamespace would show the agent's processes"),
        ({"spec": {"hostPID": True}}, "spec.template.spec.hostPID would show the agent's processes"),
        ({"spec": {"securityContext": {"runAsUser": 65532}}}, "spec.template.spec.securityContext.runAsUser 65532 is the agent's"),
        ({"spec": {"containers": [{"name": "worker", "securityContext": {"runAsUser": 65532}}]}}, f"{WORKER}.securityContext.runAsUser"),
        ({"spec": {"securityContext": []}}, "Expected `object | null`, got `array` - at `spec.template.spec.securityContext`"),
        ({"spec": {"containers": [{"name": "worker", "env": [{"name": "SNAKEPIT_RUN_DIR"}]}]}}, f"{WORKER}.env[SNAKEPIT_RUN_DIR] is"),
        ({"spec": {"containers": [{"name": "worker", "volumeMounts": [{"name": "snakepit-token"}]}]}}, f"{WORKER}.volumeMounts["),
    ],
)
def test_what_no_capsule_can_have_is_refused_with_its_name(template: dict[str, Any], says: str) -> None:
    found = problem(pool(template=template).spec)
    assert found is not None
    assert found[0] == "InvalidSpec"
    assert says in found[1]


def test_what_tools_write_into_templates_without_meaning_anything_is_nothing() -> None:
    assert problem(pool(template={"metadata": {"creationTimestamp": None, "labels": None}, "spec": {"containers": None}}).spec) is None


def test_capsules_spread_over_nodes_and_zones_unless_the_author_says_otherwise() -> None:
    (nodes,) = made()["spec"]["topologySpreadConstraints"]
    assert (nodes["topologyKey"], nodes["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway"), "one node is enough"
    (zones,) = made()["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert zones["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
    assert zones["podAffinityTerm"]["labelSelector"] == nodes["labelSelector"]
    author = made(template={"spec": {"topologySpreadConstraints": []}})["spec"]
    assert author["topologySpreadConstraints"] == []
    assert "affinity" not in author
    assert made(template={"spec": {"affinity": {"podAffinity": {}}}})["spec"]["affinity"] == {"podAffinity": {}}


def test_the_image_shorthand_wins_over_the_template() -> None:
    assert worker(made(template={"spec": {"containers": [{"name": "worker", "image": "older"}]}}))["image"] == "example/digits:1"


@pytest.mark.parametrize(
    "template",
    [
        None,
        {},
        {"spec": {"containers": []}},
        {"spec": {"containers": [{"name": "main", "image": "x"}]}},
        {"spec": {"containers": [{"name": "worker"}]}},
    ],
    ids=["none", "empty", "no container", "another name", "no image"],
)
def test_a_missing_image_is_a_reason_not_a_pod(template: dict[str, Any] | None) -> None:
    found = problem(pool(image=None, template=template).spec)
    assert found is not None
    assert found[0] == "ImageMissing"
    assert problem(pool(image=None, template={"spec": {"containers": [{"name": "worker", "image": "x"}]}}).spec) is None


def test_containers_of_the_wrong_shape_are_a_reason() -> None:
    found = problem(pool(template={"spec": {"containers": {"name": "worker"}}}).spec)
    assert found is not None
    assert found[0] == "InvalidSpec"


def test_everything_is_owned_by_the_pool_without_holding_it_back() -> None:
    for each in (made(), disruption_budget(pool(), 2)):
        (owner,) = each["metadata"]["ownerReferences"]
        assert owner["uid"] == "pool-uid"
        assert owner["blockOwnerDeletion"] is False
        assert "finalizers" not in each["metadata"]


def test_labels_fit_for_the_longest_name() -> None:
    assert all(len(value) <= 63 for value in labels(pool()).values())
    assert len(f"{'x' * 52}-9999-abcde") <= 63


def test_the_attempt_is_remembered_on_the_pod() -> None:
    assert made()["metadata"]["annotations"]["snakepit.dev/attempt"] == "2"


def test_a_pod_that_avoids_nodes_goes_where_the_author_wants_it_but_for_these() -> None:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    zones = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [each]}]} for each in "ab"]
    author = {"podAffinity": {"x": 1}, "nodeAffinity": {required: {"nodeSelectorTerms": zones}, "preferred": []}}
    elsewhere = msgspec.structs.replace(CREATION, avoid=("dead", "gone"))
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [each]} for each in ("dead", "gone")]

    def affinity(of: object) -> Any:
        return pod(pool(template={"spec": {"affinity": of}}), elsewhere, AGENT)["spec"]["affinity"]

    found = affinity(author)
    assert found["podAffinity"] == author["podAffinity"]
    assert found["nodeAffinity"] == {required: {"nodeSelectorTerms": [{**each, "matchFields": fields} for each in zones]}, "preferred": []}
    assert affinity(None) == {"nodeAffinity": {required: {"nodeSelectorTerms": [{"matchFields": fields}]}}}
    ours = pod(pool(), elsewhere, AGENT)["spec"]["affinity"]
    assert ours == {**made()["spec"]["affinity"], "nodeAffinity": {required: {"nodeSelectorTerms": [{"matchFields": fields}]}}}
    assert affinity("wrong") == "wrong"
    assert "nodeAffinity" not in made()["spec"]["affinity"]
    assert pod(pool(), elsewhere, AGENT)["metadata"]["annotations"]["snakepit.dev/avoids-nodes"] == "dead,gone"


def test_the_budget_can_always_be_satisfied() -> None:
    """Of a pool with `autoscaling`, Kubernetes would go by spec.replicas: it blocked every eviction, or allowed nearly all at once."""

    def allows(size: int, **spec: Any) -> dict[str, Any]:
        found = disruption_budget(pool(**spec), size)["spec"]
        return {name: found[name] for name in ("maxUnavailable", "minAvailable") if name in found}

    assert allows(0) == allows(1) == allows(9) == {"maxUnavailable": 1}
    autoscaled = {"autoscaling": {"maxReplicas": 20}}
    assert [allows(size, **autoscaled) for size in (0, 1, 9)] == [{"minAvailable": 0}, {"minAvailable": 0}, {"minAvailable": 8}]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'strict decoding error: unknown field "spec.containers[0].volumeMount"',
            'strict decoding error: unknown field "spec.template.spec.containers[worker].volumeMount"',
        ),
        (
            'Pod "digits-0" is invalid: spec.initContainers[1].image: Required value',
            'Pod "digits-0" is invalid: spec.template.spec.initContainers[fetch].image: Required value',
        ),
        ('unknown field "spec.hostNetwrok"', 'unknown field "spec.template.spec.hostNetwrok"'),
        ('metadata.labels: Invalid value: "a b"', 'spec.template.metadata.labels: Invalid value: "a b"'),
        ("exceeded quota: small, requested: requests.cpu=1", "exceeded quota: small, requested: requests.cpu=1"),
        ("spec.volumes[99].name: Required value", "spec.template.spec.volumes[99].name: Required value"),
        ("spec.initContainers[0].resources.limits[memory]: Invalid", "spec.agent.resources.limits[memory]: Invalid"),
    ],
)
def test_what_the_api_server_says_of_a_pod_names_the_place_in_the_pool(said: str, told: str) -> None:
    of = pool(template={"spec": {"initContainers": [{"name": "fetch"}]}})
    assert in_template(said, pod(of, CREATION, AGENT)) == told
