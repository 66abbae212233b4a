"""Schema and README of the chart's values are made of the comments above them, and a value that says too little is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import chart_readme
import chart_values
import jsonschema
import pytest
import references
from localcluster.binaries import KUBERNETES

TEXT = """# The head of the file.

# @schema {minimum: 0}
# -- How many.
replicas: 2
# What it
# is made of.
image:
  # -- Its tag.
  tag: ""
# For all pods.
pods:
  # @schema {additionalProperties: {type: string}}
  # -- By label.
  nodeSelector: {a: "1"}
  # @schema {items: {type: string}}
  # -- Words.
  words: []
  # @schema {is: Toleration, maxItems: 9}
  # -- Taints
  # that pods tolerate.
  tolerations: []
# @schema {with: pods}
# One of them.
one:
  # @schema {like: image}
  # -- Its image.
  image: {tag: ""}
  # @schema {is: PodSecurityContext}
  # -- Its user.
  user: {runAsUser: 1, fsGroup: 1}
"""


def test_types_are_those_of_the_defaults_and_descriptions_those_of_the_comments() -> None:
    found = chart_values.schema(TEXT)
    assert found["additionalProperties"] is False
    fields = found["properties"]
    assert fields["replicas"] == {"description": "How many.", "type": "integer", "minimum": 0}
    assert fields["image"]["description"] == "What it is made of."
    assert fields["image"]["additionalProperties"] is False
    assert fields["image"]["properties"]["tag"] == {"description": "Its tag.", "type": "string"}


def test_a_field_is_like_another_and_a_part_has_the_fields_of_another() -> None:
    one = chart_values.schema(TEXT)["properties"]["one"]["properties"]
    assert one["image"] == {"description": "Its image.", "$ref": "#/properties/image"}
    assert one["nodeSelector"] == {"$ref": "#/properties/pods/properties/nodeSelector"}


def test_what_has_a_default_must_be_there_unless_it_is_empty_or_kubernetes_has_one_too() -> None:
    """helm takes a default away for which somebody's values have null."""
    found = chart_values.schema(TEXT)
    assert found["required"] == ["replicas", "image", "pods", "one"]
    needed = {name: found["properties"][name]["required"] for name in ("image", "pods", "one")}
    assert needed == {"image": [], "pods": ["nodeSelector", "words"], "one": ["image"]}


def test_a_type_of_kubernetes_is_there_with_all_that_it_is_made_of_and_no_other() -> None:
    found = chart_values.schema(TEXT)
    fields = found["properties"]
    assert fields["one"]["properties"]["user"] == {"description": "Its user.", "$ref": "#/definitions/PodSecurityContext"}
    taints = {"type": "array", "maxItems": 9, "items": {"$ref": "#/definitions/Toleration"}}
    assert fields["pods"]["properties"]["tolerations"] == {"description": "Taints that pods tolerate.", **taints}
    assert {"Toleration", "PodSecurityContext", "SeccompProfile"} <= found["definitions"].keys()
    assert "Affinity" not in found["definitions"]


@pytest.mark.parametrize(
    ("line", "instead", "sentence"),
    [
        ("  # -- Its tag.\n", "", "image.tag: the line above it must say what it is for"),
        ("# -- How many.", "# How many.", "replicas: the comment of a value begins with `# -- `"),
        ("# For all pods.", "# -- For all pods.", "pods: the comment of a value begins with `# -- `, and that of a part doesn't"),
        ("  # @schema {items: {type: string}}\n", "", r"pods.words\[\]: nothing says which type it has"),
        ("{items: {type: string}}", "{items: {type: array}}", r"pods.words\[\]\[\]: nothing says which type it has"),
        ("{items: {type: string}}", "{items: {type: object}}", r"pods.words\[\]: any name is taken there"),
        ("{items: {type: string}}", "{items: {oneOf: [{type: object}]}}", r"pods.words\[\]: any name is taken there"),
        (
            "{additionalProperties: {type: string}}",
            "{additionalProperties: {minLength: 1}}",
            r"pods.nodeSelector.\*: nothing says which type",
        ),
        (
            "{minimum: 0}",
            "{properties: {a: {type: string}}, type: object, additionalProperties: false}",
            "replicas.a: nothing says what it is",
        ),
        ("{like: image}", "{like: images}", "one.image: there is no #/properties/images"),
        ("{is: Toleration,", "{is: Tolerance,", "Tolerance is not in hack/kubernetes_types.py"),
    ],
)
def test_a_value_that_says_too_little_is_named(line: str, instead: str, sentence: str) -> None:
    assert line in TEXT
    with pytest.raises(chart_values.Undocumented, match=sentence):
        chart_values.schema(TEXT.replace(line, instead))


def test_the_readme_has_a_row_for_each_value_and_none_for_a_part() -> None:
    rows = chart_readme.table(TEXT.replace('tag: ""', "tag: a<b")).splitlines()[2:]
    assert rows == [
        "| replicas | int | `2` | How many. |",
        '| image.tag | string | `"a<b"` | Its tag. |',
        '| pods.nodeSelector | object | `{"a":"1"}` | By label. |',
        "| pods.words | list | `[]` | Words. |",
        "| pods.tolerations | list | `[]` | Taints that pods tolerate. |",
        '| one.image | object | `{"tag":"a<b"}` | Its image. |',
        '| one.user | object | `{"fsGroup":1,"runAsUser":1}` | Its user. |',
    ]


# -- the chart's own ---------------------------------------------------------------------------------------------------

WHOLE: dict[str, Any] = json.loads(chart_values.SCHEMA.read_text())


def objects(rules: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an object that is anywhere in it."""
    if isinstance(rules, dict):
        if rules.get("type") == "object":
            yield rules
        rules = list(rules.values())
    for each in rules if isinstance(rules, list) else ():
        yield from objects(each)


def test_a_name_that_nobody_has_described_is_refused_wherever_there_are_names() -> None:
    """By a validator, in whose eyes a schema may have other holes than in those of what wrote it."""
    every, wrong = list(objects(WHOLE)), {"no-such-name": {"no-such-name": [[]]}}
    assert len(every) > 150
    taken = [
        each["description"]
        for each in every
        if not any(
            "no-such-name" in [*error.absolute_path, *str(error.message).split("'")]
            for error in jsonschema.Draft7Validator({**each, "definitions": WHOLE["definitions"]}).iter_errors(wrong)
        )
    ]
    assert taken == ["What a parent chart sets for all of its charts; names of others in it are passed over."]


def test_pages_say_of_which_kubernetes_these_types_are() -> None:
    version = re.sub(r"v(1\.\d+)\..*", r"\1", KUBERNETES)
    for page in (chart_readme.page(), references.values_page()):
        assert f"are those of Kubernetes {version}" in " ".join(page.split())


def test_the_charts_schema_is_that_of_its_values() -> None:
    assert chart_values.SCHEMA.read_text() == chart_values.schema_text(chart_values.VALUES.read_text())
