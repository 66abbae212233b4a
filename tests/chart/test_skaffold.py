"""skaffold.yaml names the Dockerfiles, targets and chart values that are there, so that it can't fall behind them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
ARTIFACTS: list[dict[str, Any]] = CONFIG["build"]["artifacts"]
RELEASE: dict[str, Any] = CONFIG["deploy"]["helm"]["releases"][0]
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "charts/snakepit/values.yaml").read_text())


def images() -> list[str]:
    return [artifact["image"] for artifact in ARTIFACTS]


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=images())
def test_an_image_is_built_from_a_target_that_its_dockerfile_has(artifact: dict[str, Any]) -> None:
    docker = artifact["docker"]
    text = (ROOT / docker["dockerfile"]).read_text()
    if "target" in docker:
        assert docker["target"] in re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    for needed in artifact.get("requires", []):
        assert needed["image"] in images()
        assert f"ARG {needed['alias']}" in text


@pytest.mark.parametrize("value", RELEASE["setValueTemplates"])
def test_a_value_that_is_set_exists_in_the_chart(value: str) -> None:
    found: Any = VALUES
    for key in value.split("."):
        found = found[key]
    assert found == "", "it would override a default of the chart's own"


@pytest.mark.parametrize(("value", "template"), RELEASE["setValueTemplates"].items())
def test_a_value_is_filled_with_an_image_that_is_built(value: str, template: str) -> None:
    built = {re.sub(r"[^A-Za-z0-9]", "_", image) for image in images()}
    assert re.fullmatch(r"\{\{\.IMAGE_(?:REPO|TAG)_(\w+)\}\}", template).group(1) in built  # type: ignore[union-attr]


def test_the_chart_and_the_service_to_forward_are_there() -> None:
    assert (ROOT / RELEASE["chartPath"] / "Chart.yaml").exists()
    assert CONFIG["portForward"][0]["namespace"] == RELEASE["namespace"]
