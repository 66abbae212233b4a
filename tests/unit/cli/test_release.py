"""Which of a cluster's Services is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakepit.cli.config import Kube
from snakepit.cli.release import SELECTOR, Service, chosen, services_of
from snakepit.errors import InvalidArguments, ServerUnavailable, SnakepitError

ONE = Service("snakepit-system", "snakepit", "snakepit", 7800)
TEAM = Service("team", "snakepit", "snakepit", 7800)
OTHER = Service("team", "other-snakepit", "other", 7800)
CHART = Path(__file__).resolve().parents[3] / "charts/snakepit/templates"


@pytest.mark.parametrize(
    ("services", "kube", "found"),
    [
        ([ONE], Kube(), ONE),
        ([ONE], Kube(namespace="shop"), ONE),
        ([ONE, TEAM], Kube(namespace="team"), TEAM),
        ([ONE, OTHER], Kube(release="other"), OTHER),
        ([ONE, TEAM], Kube(release="team/snakepit"), TEAM),
        ([ONE, TEAM, OTHER], Kube(namespace="team", release="snakepit"), TEAM),
    ],
    ids=["the only one", "whose pools are elsewhere", "its namespace", "its name", "both in one", "both"],
)
def test_the_release_that_is_meant_is_found(services: list[Service], kube: Kube, found: Service) -> None:
    assert chosen(services, kube) == found


@pytest.mark.parametrize(
    ("services", "kube", "kind", "sentence"),
    [
        ([], Kube(), ServerUnavailable, "no release of Snakepit was found in kubectl's current context: is the chart installed there?"),
        ([], Kube("prod"), ServerUnavailable, "no release of Snakepit was found in the context prod"),
        (
            [ONE, OTHER],
            Kube(),
            InvalidArguments,
            "several releases, snakepit-system/snakepit, team/other: say which with --release",
        ),
        ([TEAM, OTHER, ONE], Kube(namespace="team"), InvalidArguments, "there are several releases, team/other, team/snakepit: say which"),
        (
            [ONE],
            Kube(release="mine"),
            ServerUnavailable,
            "no release in kubectl's current context is named 'mine': there is snakepit-",
        ),
    ],
    ids=["none", "none there", "several", "several there", "another"],
)
def test_where_none_or_several_could_be_meant_the_sentence_names_them(
    services: list[Service], kube: Kube, kind: type[SnakepitError], sentence: str
) -> None:
    with pytest.raises(kind) as caught:
        chosen(services, kube)
    assert sentence in str(caught.value)


def test_the_headless_service_is_not_for_callers() -> None:
    labels = {"app.kubernetes.io/instance": "snakepit"}
    ports = [{"name": "grpc", "port": 7800}, {"name": "metrics", "port": 7801}]
    items = [
        {"metadata": {"namespace": "s", "name": "snakepit-control-plane", "labels": labels}, "spec": {"clusterIP": "None", "ports": ports}},
        {"metadata": {"namespace": "s", "name": "snakepit", "labels": labels}, "spec": {"clusterIP": "10.1.2.3", "ports": ports[:1]}},
        {"metadata": {"namespace": "s", "name": "odd"}, "spec": {"clusterIP": "10.1.2.4"}},
    ]
    assert services_of({"items": items}) == [Service("s", "snakepit", "snakepit", 7800)]


def test_the_chart_labels_its_services_with_what_is_looked_for() -> None:
    labels = (CHART / "_helpers.tpl").read_text()
    for label in SELECTOR.split(","):
        key, _, value = label.partition("=")
        assert f'"{key}" "{value}"' in labels or f"{key}: {{{{ .component }}}}" in labels
    services = (CHART / "control-plane/services.yaml").read_text()
    assert '"component" "control-plane"' in services
    assert "{name: grpc, port: 7800" in services
