"""The chart's values, without a cluster: which are refused, with which sentence, and whether each does something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

import pytest
import yaml

from snakepit_control_plane.model.quotas import Limits
from support.chart import CHART, Manifest, Refused, Render, as_users_write_it


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("operater.replicas=1", "additional properties 'operater' not allowed"),
        ("controlPlane.replica=3", "additional properties 'replica' not allowed"),
        ("controlPlane.replicas=many", "/controlPlane/replicas"),
        ("operator.image.tga=1", "additional properties 'tga' not allowed"),
        ("logLevel=loud", "value must be one of"),
        ("otel.env[0].name=PATH", "does not match pattern"),
        ("watchNamespaces={Upper}", "does not match pattern"),
        ("redis.url=localhost:6379", "does not match pattern"),
        ("controlPlane.maxPayloadBytes=1", "minimum"),
        ("enabled=false", "must be"),
        ("operator.resources.limit.memory=1Gi", "additional properties 'limit' not allowed"),
        ("pods.tolerations[0].kee=dedicated", "'/pods/tolerations/0': additional properties 'kee' not allowed"),
        ("networkPolicy.callers[0].podSelectr.matchLabels.a=b", "additional properties 'podSelectr' not allowed"),
        ("redis.extraVolumes[0].configMap.nam=ca", "additional properties 'nam' not allowed"),
        ("gateway.securityContext.privilegd=true", "additional properties 'privilegd' not allowed"),
        ("callerIssuers[0].issuer.audienceMatchPolicy=MatchAll", "value must be 'MatchAny'"),
        ("callerIssuers[0].issuer.uri=https://a", "additional properties 'uri' not allowed"),
        ("agent.resources.limits.memory=512mb", "'/agent/resources/limits/memory': '512mb' does not match pattern"),
        ("image.registry=https://registry.example", "'/image/registry': 'https://registry.example' does not match pattern"),
        ("image.tag=a b", "'/image/tag': 'a b' does not match pattern"),
        ("fullnameOverride=Snake_Pit", "'/fullnameOverride': 'Snake_Pit' does not match pattern"),
        ("redis.existingSecret=My_Redis", "'/redis/existingSecret': 'My_Redis' does not match pattern"),
        ("redis.persistence.accessModes={RWO}", "'/redis/persistence/accessModes/0': value must be one of 'ReadWriteOnce'"),
        ("redis.persistence.size=2GB", "'/redis/persistence/size': '2GB' does not match pattern"),
        ("commonLabels.team=a b", "'/commonLabels/team': 'a b' does not match pattern"),
        ("gateway=null", "missing property 'gateway'"),
        ("controlPlane.autoscaling.enabled=null", "'/controlPlane/autoscaling': missing property 'enabled'"),
        ("networkPolicy.keda=null", "'/networkPolicy': missing property 'keda'"),
    ],
    ids=lambda each: each.split("=")[0] if "=" in each else "",
)
def test_a_wrong_value_is_refused_with_a_sentence_that_names_it(render: Render, value: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        render(value)


def test_what_kubernetes_has_a_default_for_can_be_taken_out_of_a_pod(render: Render) -> None:
    """Somebody's values may be `resources:` with nothing behind it."""
    values = ("controlPlane.resources", "pods.tolerations", "pods.extraEnv", "networkPolicy.egress", "redis.password")
    pods = dict(render(*(f"{each}=null" for each in values)).pod_specs())
    assert not pods["snakepit-control-plane"]["containers"][0]["resources"]


def test_an_autoscaler_whose_least_is_more_than_its_most_is_refused(render: Render) -> None:
    values = ("controlPlane.autoscaling.enabled=true", "controlPlane.autoscaling.minReplicas=7")
    with pytest.raises(Refused, match=r"controlPlane\.autoscaling\.minReplicas=7 is more than maxReplicas=6"):
        render(*values)


def test_every_value_is_read_by_a_template() -> None:
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    limits = {as_users_write_it(limit.name) for limit in fields(Limits)}
    unread = {name for name in _names(yaml.safe_load((CHART / "values.yaml").read_text())) if not re.search(rf"[.\"]{name}\b", text)}
    assert unread <= limits, "limits go by their common beginning"


def _names(values: Manifest) -> Iterator[str]:
    """Of all values that are no part of another."""
    for name, value in values.items():
        if value and isinstance(value, dict) and name not in ("labels", "resources", "podSecurityContext", "securityContext"):
            yield from _names(value)
        else:
            yield name
