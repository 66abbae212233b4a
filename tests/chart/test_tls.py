"""TLS in the chart: where the certificate comes from, who has it, and who is told of its authority."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from snakepit_control_plane.authentication.issuers import parse_issuers
from snakepit_operator import settings as operator_settings
from support.chart import Manifest, Objects, Refused, Render, environment, rules

ON = "tls.enabled=true"


def operator(objects: Objects) -> operator_settings.Settings:
    pod = dict(objects.pod_specs())["snakepit-operator"]
    return operator_settings.load(environment(pod) | {"POD_NAMESPACE": "snakepit-system"})


def volume(pod: Manifest, name: str) -> Manifest:
    return next((each for each in pod.get("volumes", []) if each["name"] == name), {})


def test_the_operator_makes_a_certificate_for_what_everybody_dials(render: Render) -> None:
    settings = operator(render(ON))
    dialled = [urlsplit(settings.agent.control_plane).path.strip("/").partition(":")[0], "snakepit.snakepit-system"]
    assert set(dialled) <= set(settings.tls_names)
    assert {"snakepit", "snakepit-control-plane.snakepit-system.svc.cluster.local"} <= set(settings.tls_names)
    assert "pools.example.com" in operator(render(ON, "tls.dnsNames={pools.example.com}")).tls_names
    assert (settings.tls_service, settings.tls_secret, settings.agent.authority) == ("snakepit", "snakepit-tls", "snakepit-ca")


def test_the_control_plane_waits_for_its_certificate_and_reads_it_where_it_is_mounted(render: Render) -> None:
    pod = dict(render(ON).pod_specs())["snakepit-control-plane"]
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    secret = volume(pod, "tls")["secret"]
    assert secret["secretName"] == operator(render(ON)).tls_secret
    assert "optional" not in secret
    variables = environment(pod)
    files = {f"{mounts['tls']}/{item['path']}" for item in secret["items"]}
    assert files == {variables["SNAKEPIT_TLS_CERT_FILE"], variables["SNAKEPIT_TLS_KEY_FILE"]}


def test_whoever_dials_finds_the_authority_beside_the_token(render: Render) -> None:
    objects = render(ON, hooks=True)
    pod = objects.get("Pod", "snakepit-test")["spec"]
    sources = volume(pod, "snakepit")["projected"]["sources"]
    assert [next(iter(each)) for each in sources] == ["serviceAccountToken", "configMap"]
    assert sources[1] == {"configMap": {"name": operator(objects).agent.authority}}
    assert objects.get("Service", "snakepit")["metadata"]["annotations"]["snakepit.dev/ca"] == "snakepit-ca"
    without_token = render(ON, "authentication=off", hooks=True).get("Pod", "snakepit-test")["spec"]
    assert volume(without_token, "snakepit")["projected"]["sources"] == sources[1:]


def test_a_certificate_may_be_ones_own_or_cert_managers(render: Render) -> None:
    own = operator(render(ON, "tls.secretName=mine"))
    assert (own.tls_secret, own.tls_names) == ("mine", ())
    managed = render(ON, "tls.issuerRef.name=ca", "tls.issuerRef.kind=ClusterIssuer", "tls.dnsNames={pools.example.com}")
    certificate = managed.get("Certificate", "snakepit-tls")
    assert certificate["apiVersion"] == "cert-manager.io/v1"
    assert certificate["spec"]["secretName"] == operator(managed).tls_secret
    assert certificate["spec"]["issuerRef"] == {"name": "ca", "kind": "ClusterIssuer"}
    assert {"snakepit.snakepit-system", "pools.example.com"} <= set(certificate["spec"]["dnsNames"])
    assert operator(managed).tls_names == ()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("tls.secretName=mine", "tls.issuerRef.name=ca"), "tls.secretName and tls.issuerRef are both set"),
        (("tls.issuerRef.kind=Issuer",), "tls.issuerRef.name is missing"),
        (("tls.issuerRef.nam=ca",), "nam"),
        (("tls.dnsNames={https://pools.example.com}",), "dnsNames"),
    ],
)
def test_what_cant_be_is_refused(render: Render, values: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refused, match=said):
        render(ON, *values)


def test_the_operator_may_write_two_secrets_and_one_config_map_by_name_and_only_read_those_of_others(render: Render) -> None:
    told = {("", "configmaps", "snakepit-ca"): {"create", "patch"}}
    service = {("", "services", "snakepit"): {"get"}}
    role = "snakepit-operator-certificates"
    made = {("", "secrets", "snakepit-ca", "snakepit-tls"): {"get", "create", "patch"}}
    assert rules(render(ON).get("Role", role)) == made | told | service
    assert told.items() <= rules(render(ON).get("ClusterRole", "snakepit-operator")).items()
    for value, name in (("tls.secretName=mine", "mine"), ("tls.issuerRef.name=ca", "snakepit-tls")):
        assert rules(render(ON, value).get("Role", role)) == {("", "secrets", name): {"get"}} | told | service


def test_without_tls_there_is_nothing_of_it(render: Render) -> None:
    off = render("tls.enabled=false", hooks=True)
    assert not any("TLS" in name or "CA_FILE" in name for _, pod in off.pod_specs() for name in environment(pod) if "AUTH" not in name)
    assert not [each for each in off.of("Role") if each["metadata"]["name"].endswith("certificates")]
    assert operator(off).agent.authority == ""


def test_with_an_authority_for_clients_there_is_a_port_where_they_show_a_certificate(render: Render) -> None:
    objects = render("tls.clientCASecret=clients")
    pod = dict(objects.pod_specs())["snakepit-control-plane"]
    variables, mounts = environment(pod), {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert volume(pod, "client-ca")["secret"] == {"secretName": "clients", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    assert variables["SNAKEPIT_TLS_CLIENT_CA_FILE"] == f"{mounts['client-ca']}/ca.crt"
    (name,) = [each["name"] for each in pod["containers"][0]["ports"] if each["containerPort"] == 7806]
    for service in ("snakepit", "snakepit-control-plane"):
        ports = objects.get("Service", service)["spec"]["ports"]
        assert {"name": name, "port": 7806, "targetPort": name} in ports
    policy = objects.get("NetworkPolicy", "snakepit-control-plane")["spec"]["ingress"][0]
    assert [each["port"] for each in policy["ports"]] == [7800, 7802, 7806]
    for without in ("tls.enabled=false", "authentication=off"):
        with pytest.raises(Refused, match=r"tls\.clientCASecret needs tls\.enabled and authentication: required"):
            render("tls.clientCASecret=clients", without)


def test_callers_of_another_issuer_are_known_by_its_tokens(render: Render) -> None:
    username = ["claimMappings.username.claim=email", "claimMappings.username.prefix=oidc:"]
    issuer = ["issuer.url=https://login.example.com", "issuer.audiences={snakepit,all}", "issuer.audienceMatchPolicy=MatchAny", *username]
    variables = environment(dict(render(*(f"callerIssuers[0].{each}" for each in issuer)).pod_specs())["snakepit-control-plane"])
    (found,) = parse_issuers(variables["SNAKEPIT_AUTH_ISSUERS"])
    assert (found.issuer.url, found.issuer.audiences) == ("https://login.example.com", ("snakepit", "all"))
    assert "SNAKEPIT_AUTH_ISSUERS" not in environment(dict(render().pod_specs())["snakepit-control-plane"])
