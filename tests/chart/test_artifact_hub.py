"""What Artifact Hub is told about the chart, against the chart: by the rules of its documentation, as its own linter is no Go module that
can be fetched."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from support.chart import CHART, EVERYTHING, Manifest, Render

CATEGORIES = {
    "ai-machine-learning",
    "database",
    "integration-delivery",
    "monitoring-logging",
    "networking",
    "security",
    "storage",
    "streaming-messaging",
}
CAPABILITIES = {"Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"}
SHAPES = {"images": {"name", "image"}, "crds": {"kind", "version", "name", "displayName", "description"}}
OF_OTHERS = {"redis": "valkey"}
CHART_FILE: Manifest = yaml.safe_load((CHART / "Chart.yaml").read_text())


def told(name: str) -> Any:
    """An annotation, as YAML."""
    return yaml.safe_load(CHART_FILE["annotations"][f"artifacthub.io/{name}"])


def test_every_annotation_is_one_that_artifact_hub_knows_in_its_form() -> None:
    annotations = CHART_FILE["annotations"]
    assert all(isinstance(each, str) for each in annotations.values())
    own = {name.removeprefix("artifacthub.io/") for name in annotations}
    assert own == {"category", "license", "prerelease", "operator", "operatorCapabilities", "images", "crds", "crdsExamples"}
    assert told("category") in CATEGORIES
    assert told("operatorCapabilities") in CAPABILITIES
    assert (told("operator"), told("license")) == (True, "Apache-2.0")
    for name, fields in SHAPES.items():
        assert {frozenset(each) for each in told(name)} == {frozenset(fields)}, name


def test_it_is_a_prerelease_before_1_0() -> None:
    assert told("prerelease") is (CHART_FILE["version"] < "1")


def test_the_images_are_those_that_the_chart_uses(render: Render) -> None:
    objects = render("gateway.enabled=true", "redis.replicas=3", hooks=True)
    assert {each["image"] for each in told("images")} == objects.images()
    assert all(re.search(rf"/{OF_OTHERS.get(each['name'], each['name'])}:", each["image"]) for each in told("images"))


def test_the_crd_is_the_one_that_the_chart_brings(render: Render) -> None:
    (crd,) = render().of("CustomResourceDefinition")
    served = [each["name"] for each in crd["spec"]["versions"] if each["served"]]
    (listed,) = told("crds")
    assert (listed["kind"], listed["name"], [listed["version"]]) == (crd["spec"]["names"]["kind"], crd["metadata"]["name"], served)


def test_helm_has_nothing_against_the_chart(helm: Path, tmp_path: Path) -> None:
    for values in ((), EVERYTHING):
        sets = [word for value in values for word in ("--set", value)]
        linted = subprocess.run([helm, "lint", "--strict", CHART, *sets], capture_output=True, text=True, timeout=60, check=False)
        assert linted.returncode == 0, linted.stdout
        assert "WARNING" not in linted.stdout
    packed = subprocess.run([helm, "package", CHART, "-d", tmp_path], capture_output=True, text=True, timeout=60, check=True).stdout
    shown = subprocess.run([helm, "show", "readme", packed.split()[-1]], capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown.strip() == (CHART / "README.md").read_text().strip()
