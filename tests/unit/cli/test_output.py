"""Values as programs get them: names of ours in camelCase, what is a user's as it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import yaml

from snakepit.cli.output import Output, as_json, as_yaml, camel, remark, rendered
from snakepit.client.views import ToolInfo


class Both(msgspec.Struct):
    some_name: dict[str, Any]
    moment: datetime


def test_our_names_are_camel_case_and_a_users_keys_are_not_touched() -> None:
    value = Both({"their_name": {"inner_name": (1, 2)}}, datetime(2026, 11, 28, 20, tzinfo=UTC))
    assert as_json([value]) == '[{"someName":{"their_name":{"inner_name":[1,2]}},"moment":"2026-11-28T20:00:00Z"}]'
    assert camel("oldest_running_seconds") == "oldestRunningSeconds"


def test_a_tools_schema_keeps_the_names_of_its_parameters() -> None:
    schema = {"properties": {"user_name": {"type": "string"}}}
    tool = ToolInfo("greet", "", schema, {}, streaming=False, idempotent=True, timeout_seconds=0)
    found = json.loads(as_json(tool))
    assert found["inputSchema"] == schema
    assert {"outputSchema", "timeoutSeconds", "sessionId"} <= found.keys()


ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.float32(1.5), 1.5),
        (pd.DataFrame(ROWS), ROWS),
        (pd.Series([1, 2]), [1, 2]),
        (pl.DataFrame(ROWS), ROWS),
        (pl.Series([1, 2]), [1, 2]),
        (pa.Table.from_pylist(ROWS), ROWS),
        (b"\x00\xff", "AP8="),
        ({1: {2: 3}}, {"1": {"2": 3}}),
        ({"nested": [np.arange(2)]}, {"nested": [[0, 1]]}),
        (float("nan"), None),
    ],
    ids=["array", "scalar", "pandas", "series", "polars", "polars series", "pyarrow", "bytes", "keys", "nested", "nan"],
)
def test_what_tools_answer_with_is_json(value: object, plain: object) -> None:
    assert json.loads(as_json(value)) == plain


@pytest.mark.parametrize("value", ["text", "", "true", "42", "a: b", "two\nlines\n", None, 3, True, [], {}, ["a"], "…" * 200])
def test_yaml_has_no_end_mark_and_reads_back(value: object) -> None:
    text = as_yaml(value)
    assert not text.endswith("...\n")
    assert yaml.safe_load(text) == value


def test_long_values_are_laid_out_but_never_pieces_of_a_stream() -> None:
    value = [{"a": "x" * 80}, {"b": "y" * 80}]
    assert rendered(value, Output.json).count("\n") > 3
    assert rendered(value, Output.json, piece=True).count("\n") == 1
    assert rendered("text", Output.table) == "text\n"
    assert rendered("text", Output.json) == '"text"\n'


def test_what_is_to_be_known_beside_the_output_is_an_object_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    remark(Output.table, "", "no answer from b")
    remark(Output.json, "", "no answer from b")
    remark(Output.yaml, "no answer from b")
    assert capsys.readouterr() == (
        "",
        'no answer from b\n{"warning":{"message":"no answer from b"}}\n---\nwarning:\n  message: no answer from b\n',
    )
