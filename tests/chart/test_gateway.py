"""The gateway, as the chart makes it: who it is, what it shows, whom it reaches and who reaches it."""

from __future__ import annotations

import pytest

from snakepit._wire.targets import parse_target
from snakepit._wire.token import MOUNTED
from snakepit_gateway import settings as gateway_settings
from snakepit_operator import settings as operator_settings
from support.chart import Manifest, Objects, Refused, Render, environment

ON = "gateway.enabled=true"


def pod(objects: Objects) -> Manifest:
    return dict(objects.pod_specs())["snakepit-gateway"]


def settings(objects: Objects) -> gateway_settings.Settings:
    """As it reads them itself."""
    return gateway_settings.from_environment(environment(pod(objects)))


def operator(objects: Objects) -> operator_settings.Settings:
    variables = environment(dict(objects.pod_specs())["snakepit-operator"])
    return operator_settings.load(variables | {"POD_NAMESPACE": "snakepit-system"})


def sources(objects: Objects, volume: str) -> Manifest:
    found: Manifest = next(each for each in pod(objects)["volumes"] if each["name"] == volume)
    return found


def test_there_is_none_unless_it_is_asked_for(render: Render) -> None:
    assert not [each["metadata"]["name"] for each in render() if "gateway" in each["metadata"]["name"]]


def test_its_own_settings_reader_takes_what_the_chart_gives(render: Render) -> None:
    found = settings(render(ON, "gateway.cors={https://one.example,https://two.example}", "gateway.maxBodyBytes=4096", "gateway.mcp=false"))
    assert found.port == pod(render(ON))["containers"][0]["ports"][0]["containerPort"] == 7880
    assert found.cors_origins == ("https://one.example", "https://two.example")
    assert (found.max_body_bytes, found.console, found.mcp) == (4096, True, False)
    alike = ("max_body_bytes", "max_requests", "max_requests_per_address", "proxies")
    assert all(getattr(settings(render(ON)), each) == getattr(gateway_settings.Settings, each) for each in alike)
    own = settings(render(ON, "gateway.maxRequests=70", "gateway.maxRequestsPerAddress=50"))
    assert (own.max_requests, own.max_requests_per_address) == (70, 50)
    assert 0 < found.linger_seconds < found.linger_seconds + found.drain_seconds < pod(render(ON))["terminationGracePeriodSeconds"]


def test_it_dials_every_replica_as_a_caller_without_any_right(render: Render) -> None:
    objects = render(ON)
    host, _ = parse_target(environment(pod(objects))["SNAKEPIT_SERVER"].removeprefix("dns:///"))
    assert host in operator(objects).tls_names
    (mount,) = [each["mountPath"] for each in pod(objects)["containers"][0]["volumeMounts"] if each["name"] == "snakepit"]
    token, authority = sources(objects, "snakepit")["projected"]["sources"]
    assert f"{mount}/{token['serviceAccountToken']['path']}" == str(MOUNTED)
    assert token["serviceAccountToken"]["audience"] == "snakepit.snakepit-system"
    assert authority == {"configMap": {"name": operator(objects).agent.authority}}
    given = [
        each["metadata"]["name"]
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for each in objects.of(kind)
        if pod(objects)["serviceAccountName"] in str(each["subjects"])
    ]
    assert given == []


def test_the_operator_makes_its_certificate_for_the_names_of_its_service(render: Render) -> None:
    objects = render(ON, "gateway.tls.dnsNames={tools.example.com}")
    made, service = operator(objects), objects.get("Service", "snakepit-gateway")["spec"]
    assert {"snakepit-gateway", "snakepit-gateway.snakepit-system.svc", "tools.example.com"} <= set(made.tls_gateway_names)
    assert not set(made.tls_gateway_names) & set(made.tls_names)
    assert sources(objects, "tls")["secret"]["secretName"] == made.tls_gateway_secret == "snakepit-gateway-tls"
    files = {f"/var/run/secrets/snakepit-tls/{item['path']}" for item in sources(objects, "tls")["secret"]["items"]}
    assert files == {settings(objects).tls_cert_file, settings(objects).tls_key_file}
    (port,) = service["ports"]
    assert (port["port"], port["appProtocol"]) == (7880, "https")
    assert pod(objects)["containers"][0]["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"


@pytest.mark.parametrize("value", ["gateway.tls.enabled=false", "tls.enabled=false"])
def test_it_speaks_plain_http_where_something_before_it_ends_tls(render: Render, value: str) -> None:
    objects = render(ON, value)
    assert settings(objects).tls_cert_file is None
    assert settings(objects).proxies == ("0.0.0.0/0", "::/0")
    assert settings(render(ON, value, "gateway.proxies={10.244.0.0/16,fd00::/8}")).proxies == ("10.244.0.0/16", "fd00::/8")
    assert operator(objects).tls_gateway_names == ()
    assert objects.get("Service", "snakepit-gateway")["spec"]["ports"][0]["appProtocol"] == "http"
    assert pod(objects)["containers"][0]["readinessProbe"]["httpGet"]["scheme"] == "HTTP"


def test_its_certificate_may_be_ones_own_or_cert_managers(render: Render) -> None:
    own = render(ON, "gateway.tls.secretName=mine")
    assert sources(own, "tls")["secret"]["secretName"] == "mine"
    assert operator(own).tls_gateway_names == ()
    managed = render(ON, "tls.issuerRef.name=ca")
    assert "snakepit-gateway.snakepit-system" in managed.get("Certificate", "snakepit-gateway-tls")["spec"]["dnsNames"]
    assert operator(managed).tls_gateway_names == ()
    with pytest.raises(Refused, match=r"gateway\.tls\.secretName is missing"):
        render(ON, "tls.secretName=own")


def test_it_reaches_the_control_plane_and_the_dns_and_nothing_else(render: Render) -> None:
    objects = render(ON)
    policy = objects.get("NetworkPolicy", "snakepit-gateway")["spec"]
    control_plane, dns = policy["egress"]
    assert [each["port"] for each in control_plane["ports"]] == [7800, 7802]
    assert {each["port"] for each in dns["ports"]} == {53}
    let_in = objects.get("NetworkPolicy", "snakepit-control-plane")["spec"]["ingress"][0]["from"]
    assert policy["podSelector"] in [each.get("podSelector") for each in let_in]
    assert policy["podSelector"] not in [
        each.get("podSelector") for each in render().get("NetworkPolicy", "snakepit-control-plane")["spec"]["ingress"][0]["from"]
    ]


def test_anybody_may_dial_it_or_whom_you_name(render: Render) -> None:
    anybody, _ = render(ON).get("NetworkPolicy", "snakepit-gateway")["spec"]["ingress"]
    assert (anybody["from"], [each["port"] for each in anybody["ports"]]) == ([], [7880])
    named = "networkPolicy.gateway[0].namespaceSelector.matchLabels.name=ingress"
    some, _ = render(ON, named).get("NetworkPolicy", "snakepit-gateway")["spec"]["ingress"]
    assert some["from"] == [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]


@pytest.mark.parametrize(
    "value", ["gateway.cors={https://app.example.com/}", "gateway.maxBodyBytes=0", "gateway.console=perhaps", "gateway.proxies={ingress}"]
)
def test_what_cant_be_is_refused(render: Render, value: str) -> None:
    with pytest.raises(Refused, match="gateway"):
        render(ON, value)
