"""Redis in the chart: the bundled one, three of them with Sentinels, one of your own."""

from __future__ import annotations

import base64

import pytest

from snakepit_control_plane.store.urls import parse_store_url
from support.chart import Refused, Render, environment


def test_the_bundled_redis_and_its_password_reach_the_control_plane(render: Render) -> None:
    pod = dict(render().pod_specs())["snakepit-control-plane"]
    variables = {each["name"]: each for each in pod["containers"][0]["env"]}
    secret = variables["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert secret["key"] in render().get("Secret", secret["name"])["data"]
    assert variables["SNAKEPIT_STORE"]["value"] == "redis://:$(REDIS_PASSWORD)@snakepit-redis.snakepit-system:6379/0"
    names = list(variables)
    assert names.index("REDIS_PASSWORD") < names.index("SNAKEPIT_STORE"), "a variable is expanded only if it stands before"


@pytest.mark.parametrize("replicas", [1, 3])
def test_no_command_line_has_the_password(render: Render, replicas: int) -> None:
    objects = render(f"redis.replicas={replicas}")
    pod = objects.get("StatefulSet", "snakepit-redis")["spec"]["template"]["spec"]
    server, *_ = pod["containers"]
    assert "PASSWORD" not in str([each.get("args", []) + each["command"] for each in pod["containers"]])
    # A configuration file is the program's first word.
    assert server["args"][replicas // 3] == "/etc/snakepit/redis-auth/auth.conf"
    data = objects.get("Secret", "snakepit-redis")["data"]
    password = base64.b64decode(data["password"]).decode()
    assert base64.b64decode(data["auth.conf"]).decode() == f"requirepass {password}\nmasterauth {password}\n"


def test_a_password_is_said_once(render: Render) -> None:
    with pytest.raises(Refused, match=r"redis\.password and redis\.passwordSecret are both set"):
        render("redis.password=one", "redis.passwordSecret=mine")


def test_a_secret_of_your_own_is_not_the_charts(render: Render) -> None:
    with pytest.raises(Refused, match=r"redis\.passwordSecret=pits-snakepit-redis is the chart's own Secret"):
        render("redis.passwordSecret=pits-snakepit-redis", release="pits")


THREE = ("redis.replicas=3", "redis.command={/opt/bin/redis-server}")


def test_three_redis_servers_have_sentinels_addresses_of_their_own_and_a_budget_and_the_control_plane_asks_the_sentinels(
    render: Render,
) -> None:
    objects = render(*THREE)
    server, sentinel = objects.get("StatefulSet", "snakepit-redis")["spec"]["template"]["spec"]["containers"]
    assert [server["args"][0], *sentinel["args"]] == ["/opt/bin/redis-server"] * 2
    assert {"name": "CLI", "value": "/opt/bin/redis-cli"} in sentinel["env"]
    named = next(each["value"] for each in server["env"] if each["name"] == "NODES").split()
    assert named == [f"snakepit-redis-{number}.snakepit-system" for number in range(3)]
    for name in named:
        service = objects.get("Service", name.partition(".")[0])["spec"]
        assert service["selector"] == {"statefulset.kubernetes.io/pod-name": name.partition(".")[0]}
        assert service["publishNotReadyAddresses"] is True
        assert "clusterIP" not in service
    assert objects.get("PodDisruptionBudget", "snakepit-redis")["spec"]["maxUnavailable"] == 1
    assert "livenessProbe" not in server
    store = environment(dict(objects.pod_specs())["snakepit-control-plane"])["SNAKEPIT_STORE"].replace("$(REDIS_PASSWORD)", "pw")
    url = parse_store_url(store)
    assert url.hosts == tuple((name, 26379) for name in named)
    assert (url.kind, url.master, url.password, url.sentinel_password) == ("sentinel", "main", "pw", "pw")
    with pytest.raises(Refused, match=r"must be a program called …-server"):
        render("redis.replicas=3", "redis.command={sh}")


def test_what_sessions_do_not_survive_is_told_to_the_control_plane(render: Render) -> None:
    def note(*values: str) -> str:
        return environment(dict(render(*values).pod_specs())["snakepit-control-plane"]).get("SNAKEPIT_STORE_NOTE", "")

    assert note() == "they vanish with the Redis pod, also when its node is drained: it has no volume"
    assert note(*THREE) == "they vanish when all three Redis pods are gone at once: they have no volumes"
    for kept in (["redis.persistence.enabled=true"], ["redis.url=redis://a"]):
        assert note(*kept) == ""


@pytest.mark.parametrize("value", ["redis.url=rediss://redis.example:6379/0", "redis.existingSecret=mine"])
def test_with_a_redis_of_your_own_none_is_bundled(render: Render, value: str) -> None:
    objects = render(value)
    assert "StatefulSet" not in objects.kinds()
    assert not [each for each in objects if "redis" in each["metadata"]["name"]]
    assert "REDIS_PASSWORD" not in environment(dict(objects.pod_specs())["snakepit-control-plane"])


def test_the_url_of_your_own_redis_reaches_the_control_plane(render: Render) -> None:
    objects = render("redis.url=rediss://redis.example:6379/0")
    assert environment(dict(objects.pod_specs())["snakepit-control-plane"])["SNAKEPIT_STORE"] == "rediss://redis.example:6379/0"
    objects = render("redis.existingSecret=mine")
    container = dict(objects.pod_specs())["snakepit-control-plane"]["containers"][0]
    store = next(each for each in container["env"] if each["name"] == "SNAKEPIT_STORE")
    assert store["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "url"}


@pytest.mark.parametrize("url", ["redis+sentinel://a:26379/main/0", "rediss+cluster://a:6379"])
def test_a_sentinel_or_a_cluster_is_a_redis_of_your_own_too(render: Render, url: str) -> None:
    assert environment(dict(render(f"redis.url={url}").pod_specs())["snakepit-control-plane"])["SNAKEPIT_STORE"] == url


def test_the_certificates_for_redis_reach_the_control_plane(render: Render) -> None:
    pod = dict(render("redis.tlsSecret=certs").pod_specs())["snakepit-control-plane"]
    assert {"name": "redis-tls", "secret": {"secretName": "certs"}} in pod["volumes"]
    mounts = pod["containers"][0]["volumeMounts"]
    assert {"name": "redis-tls", "mountPath": "/etc/snakepit/redis-tls", "readOnly": True} in mounts


def test_two_places_for_redis_are_refused(render: Render) -> None:
    with pytest.raises(Refused, match=r"redis\.url and redis\.existingSecret are both set"):
        render("redis.url=redis://a", "redis.existingSecret=b")


def test_a_volume_is_claimed_only_when_asked_for(render: Render) -> None:
    assert "volumeClaimTemplates" not in render().of("StatefulSet")[0]["spec"]
    claims = render("redis.persistence.enabled=true", "redis.persistence.size=5Gi").of("StatefulSet")[0]["spec"]["volumeClaimTemplates"]
    assert [claim["spec"]["resources"]["requests"]["storage"] for claim in claims] == ["5Gi"]
