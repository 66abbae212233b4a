"""The CustomResourceDefinition is what Kubernetes accepts: structural, with defaults spelled out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakepit.spec.schema import Schema
from support.scripts import imported

ROOT = Path(__file__).resolve().parents[3]
crd = imported(ROOT / "hack/crds.py").crd


def version() -> dict[str, Any]:
    found: dict[str, Any] = crd()["spec"]["versions"][0]
    return found


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from nodes(each, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


ROOT_SCHEMA = version()["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("path", ["crds/snakepit.dev_snakepools.yaml", "charts/snakepit/files/crds/snakepools.yaml"])
def test_the_files_are_up_to_date(path: str) -> None:
    assert yaml.safe_load((ROOT / path).read_text()) == crd()


def test_every_node_has_a_type() -> None:
    assert [path for path, each in nodes(ROOT_SCHEMA) if "type" not in each and "x-kubernetes-int-or-string" not in each] == []


def test_every_field_of_the_spec_says_what_it_is_for() -> None:
    spec = ROOT_SCHEMA["properties"]["spec"]
    assert [path for path, each in nodes(spec) if not each.get("description") and "[]" not in path] == []


def test_defaults_of_objects_name_every_defaulted_child() -> None:
    """Or the API server refuses rules over them: no such key."""
    for path, each in nodes(ROOT_SCHEMA["properties"]["spec"]):
        if each.get("type") == "object" and "default" in each:
            children = {name for name, child in each["properties"].items() if "default" in child}
            assert children == set(each["default"]), path


def test_scale_finds_its_fields() -> None:
    scale = version()["subresources"]["scale"]
    for path, half in (
        (scale["specReplicasPath"], "spec"),
        (scale["statusReplicasPath"], "status"),
        (scale["labelSelectorPath"], "status"),
    ):
        assert path.split(".")[2] in ROOT_SCHEMA["properties"][half]["properties"]


def test_columns_show_fields_that_exist() -> None:
    columns = {each["name"]: each["jsonPath"] for each in version()["additionalPrinterColumns"]}
    wide = [each["name"] for each in version()["additionalPrinterColumns"] if each.get("priority")]
    assert [each for each in columns if each not in wide] == ["Ready", "Desired", "Busy", "Queue", "Sessions", "Reason", "Age"]
    assert wide == ["Updated", "Available", "Workers", "Slots", "Budget", "Message"]
    for path in columns.values():
        node = ROOT_SCHEMA
        for step in path.partition("[")[0].split(".")[1:]:
            assert step in node["properties"] or step == "creationTimestamp", path
            node = node["properties"].get(step, {})


def test_the_template_is_passed_through_as_it_is() -> None:
    template = ROOT_SCHEMA["properties"]["spec"]["properties"]["template"]
    for part in ("metadata", "spec"):
        assert template["properties"][part]["x-kubernetes-preserve-unknown-fields"] is True
