"""What the chart gives to those who size pools from outside: the metrics API for an HPA, the external scaler for KEDA."""

from __future__ import annotations

import base64

import pytest

from snakepit_operator import settings as operator_settings
from support.chart import Refused, Render, environment
from support.documents import scaled_object


def test_keda_finds_any_replica_of_the_operator_where_its_documents_say_if_it_is_asked_for(render: Render) -> None:
    objects = render("keda.enabled=true", namespace="snakepit-system")
    (trigger,) = scaled_object("digits")["spec"]["triggers"]
    service = objects.get("Service", "snakepit-keda")
    (port,) = service["spec"]["ports"]
    assert trigger["metadata"]["scalerAddress"] == f"snakepit-keda.{service['metadata']['namespace']}:{port['port']}"
    deployment = objects.get("Deployment", "snakepit-operator")["spec"]
    assert service["spec"]["selector"].items() <= deployment["template"]["metadata"]["labels"].items()
    pod = deployment["template"]["spec"]
    served = next(each["containerPort"] for each in pod["containers"][0]["ports"] if each["name"] == port["targetPort"])
    assert environment(pod)["SNAKEPIT_KEDA_LISTEN"] == f"0.0.0.0:{served}"
    without = render()
    assert "SNAKEPIT_KEDA_LISTEN" not in environment(dict(without.pod_specs())["snakepit-operator"])
    assert not [each for each in without.of("Service") if each["metadata"]["name"] == "snakepit-keda"]


def test_the_metrics_api_is_off_until_it_is_wanted(render: Render) -> None:
    assert "APIService" not in render().kinds()
    assert (
        operator_settings.load(environment(dict(render().pod_specs())["snakepit-operator"]) | {"POD_NAMESPACE": "team"}).metrics_api is None
    )


def test_the_api_server_finds_the_metrics_api_and_knows_it_by_its_certificate(render: Render) -> None:
    objects = render("metricsApi.enabled=true", release="mine", namespace="team")
    entry = objects.get("APIService", "v1beta2.custom.metrics.k8s.io")["spec"]
    assert entry["caBundle"] == objects.get("Secret", "mine-snakepit-metrics-api")["data"]["ca.crt"]
    assert "insecureSkipTLSVerify" not in entry
    service = objects.get("Service", entry["service"]["name"])
    pod = dict(objects.pod_specs())["mine-snakepit-operator"]
    ports = {each["name"]: each["containerPort"] for each in pod["containers"][0]["ports"]}
    settings = operator_settings.load(environment(pod) | {"POD_NAMESPACE": "team"})
    assert settings.metrics_api == f"0.0.0.0:{ports[service['spec']['ports'][0]['targetPort']]}"
    mounts = {each["mountPath"]: each["name"] for each in pod["containers"][0]["volumeMounts"]}
    volume = next(each for each in pod["volumes"] if each["name"] == mounts[settings.metrics_api_certificates])
    assert volume["secret"]["secretName"] == "mine-snakepit-metrics-api"
    account = {"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": "team"}
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        assert objects.get(kind, "mine-snakepit-metrics-api")["subjects"] == [account]
    without = render("metricsApi.enabled=true", "rbac.create=false")
    assert not {"RoleBinding", "ClusterRole", "ClusterRoleBinding"} & without.kinds()


def test_the_metrics_api_takes_a_certificate_of_your_own_or_of_cert_manager(render: Render) -> None:
    own = render("metricsApi.enabled=true", "metricsApi.certificate.existingSecret=mine", "metricsApi.certificate.caBundle=PEM")
    assert base64.b64decode(own.get("APIService", "v1beta2.custom.metrics.k8s.io")["spec"]["caBundle"]) == b"PEM"
    volumes = dict(own.pod_specs())["snakepit-operator"]["volumes"]
    assert [each["secret"]["secretName"] for each in volumes if each["name"] == "metrics-api"] == ["mine"]
    manager = ("metricsApi.enabled=true", "metricsApi.certificate.certManager.enabled=true")
    managed = render(*manager)
    certificate, entry = managed.get("Certificate", "snakepit-metrics-api"), managed.get("APIService", "v1beta2.custom.metrics.k8s.io")
    assert entry["metadata"]["annotations"] == {"cert-manager.io/inject-ca-from": "snakepit-system/snakepit-metrics-api"}
    assert "caBundle" not in entry["spec"]
    assert certificate["spec"]["dnsNames"][0] == "snakepit-metrics-api.snakepit-system.svc"
    assert managed.get("Issuer", certificate["spec"]["issuerRef"]["name"])["spec"] == {"selfSigned": {}}
    for objects in (own, managed):
        assert "snakepit-metrics-api" not in [each["metadata"]["name"] for each in objects.of("Secret")]
    signed = render(*manager, "metricsApi.certificate.certManager.issuerRef.name=ours")
    assert "Issuer" not in signed.kinds()
    assert signed.get("Certificate", "snakepit-metrics-api")["spec"]["issuerRef"] == {"name": "ours"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("existingSecret=mine",), "metricsApi.certificate.caBundle is empty"),
        (("existingSecret=mine", "caBundle=PEM", "certManager.enabled=true"), "are both set: keep the one"),
    ],
)
def test_certificates_that_do_not_fit_together_are_refused(render: Render, values: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        render("metricsApi.enabled=true", *(f"metricsApi.certificate.{each}" for each in values))
