"""The schema of the chart's values is made of the comments above them, and a value that says too little is refused by name."""

from __future__ import annotations

import chart_values
import pytest

TEXT = """# The head of the file.

# How many.
# @schema {minimum: 0}
replicas: 2
# What it
# is made of.
image:
  # Its tag.
  tag: ""
# For all pods.
pods:
  # @schema {additionalProperties: {type: string}}
  # By label.
  nodeSelector: {}
  # Words.
  # @schema {items: {type: string}}
  words: []
# One of them.
# @schema {with: pods}
one:
  # Its image.
  # @schema {like: image}
  image: {tag: ""}
  # Its own.
  # @schema {leaf: true, additionalProperties: true}
  words: {a: 1}
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
    assert one["words"] == {"description": "Its own.", "type": "object", "additionalProperties": True}


@pytest.mark.parametrize(
    ("line", "instead", "sentence"),
    [
        ("  # Its tag.\n", "", "image.tag: the line above it must say what it is for"),
        ("# @schema {items: {type: string}}", "#", "pods.words: @schema must say what may be in it"),
        ("# @schema {additionalProperties: {type: string}}", "#", "pods.nodeSelector: @schema must say what may be in it"),
        ("{like: image}", "{like: images}", "one.image: there is no #/properties/images"),
    ],
)
def test_a_value_that_says_too_little_is_named(line: str, instead: str, sentence: str) -> None:
    assert line in TEXT
    with pytest.raises(chart_values.Undocumented, match=sentence):
        chart_values.schema(TEXT.replace(line, instead))


def test_the_charts_schema_is_that_of_its_values() -> None:
    assert chart_values.SCHEMA.read_text() == chart_values.schema_text(chart_values.VALUES.read_text())
