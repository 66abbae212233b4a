"""Pool files and settings as typed values."""

from __future__ import annotations

import json
import subprocess
import sys

import cel
import msgspec
import pytest
import yaml

from snakepit.errors import InvalidArguments
from snakepit.spec import InvalidPool, SnakePoolSpec, decode_spec, encode_spec, load_pools
from support.pool_files import document

FILE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: beside}
---
apiVersion: snakepit.dev/v1alpha1
kind: SnakePool
metadata: {name: digits}
spec:
  worker: {adapter: "digits.tools:Digits", processes: 2}
  queue: {timeoutSeconds: 0.5}
---
"""


def test_a_file_becomes_pools_with_all_defaults() -> None:
    (pool,) = load_pools(FILE, cel.evaluate)
    assert (pool.metadata.namespace, pool.metadata.name) == ("default", "digits")
    assert pool.spec.worker.processes == 2
    assert pool.spec.queue.timeout_seconds == 0.5
    assert pool.spec.heartbeat.miss_threshold == 3
    assert pool.spec.call.payloads == ("json", "msgpack")


def test_a_list_of_objects_is_read_too() -> None:
    text = json.dumps({"kind": "List", "items": [document(name="a"), document(name="b", namespace="other")]})
    assert [(each.metadata.namespace, each.metadata.name) for each in load_pools(text)] == [("default", "a"), ("other", "b")]


def test_a_null_is_as_if_it_were_not_there() -> None:
    (pool,) = load_pools(yaml.dump(document({"queue": None, "image": None})))
    assert pool.spec.queue.max_size == 1000


def test_all_problems_of_all_pools_come_at_once() -> None:
    text = yaml.dump_all([document({"replicas": -1}, name="a"), document({"affinity": "x"}, name="b")])
    with pytest.raises(InvalidPool) as raised:
        load_pools(text)
    assert len(raised.value.problems) == 2
    assert "'a'" in raised.value.problems[0]
    assert "'b'" in raised.value.problems[1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "not YAML"),
        ("just text", "no Kubernetes object"),
        ("- 1", "no Kubernetes object"),
        ("", "no SnakePool"),
        ("kind: ConfigMap", "no SnakePool"),
        ("kind: SnakePool", "no matches for kind"),
        ("kind: List\nitems: [1]", "no Kubernetes object"),
        ("kind: List\nitems: 1", "no Kubernetes object"),
    ],
)
def test_what_is_no_pool_file_is_said(text: str, sentence: str) -> None:
    with pytest.raises(InvalidPool, match=sentence):
        load_pools(text)


def bomb(levels: int = 9) -> str:
    """A few lines that stand for billions."""
    lines = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x]", *lines, FILE.split("---")[1].strip()])


def a_pool(*, name: str = "a", spec: str = "{}") -> str:
    return f"apiVersion: snakepit.dev/v1alpha1\nkind: SnakePool\nmetadata: {{name: {name}}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (bomb(), "more than 100000 values, with those that its aliases stand for"),
        ("kind: List\nitems: &a [*a]\n", "no Kubernetes object|is nested deeper"),
        ("kind: List\nitems: &l\n- kind: List\n  items: *l\n", "a List within a List"),
        ("[" * 5_000, "is nested deeper than 100 levels|is not YAML"),
        (a_pool(spec="{a: " * 200 + "1" + "}" * 200), "is nested deeper than 100 levels"),
        (a_pool(spec="{queue: {timeoutSeconds: .nan}}"), "spec.queue.timeoutSeconds: nan is no number that JSON has"),
        (a_pool(spec="{queue: {timeoutSeconds: -.inf}}"), "spec.queue.timeoutSeconds: -inf is no number"),
        (a_pool(spec=f"{{replicas: {'9' * 400}}}"), "spec.replicas: the number has more digits than 64 bits hold"),
        (a_pool(name="2026-11-28"), "metadata.name: '2026-11-28' is read as a date by YAML: put it in quotes"),
        (a_pool(spec="{1: x}"), "spec: the name '1' is no text in YAML"),
        (a_pool(spec="{a: !!set {x}}"), "spec.a: .* is read as a set by YAML"),
        (a_pool(name='"\\uD800"'), "half of a surrogate pair"),
        ("a:\n  b: c: d\n", "^the file is not YAML: line 2, column 7: mapping values are not allowed here$"),
        (a_pool(name="2026-99-99"), "the file is not YAML: month must be in 1..12"),
        ("a: " + "x" * 600_000, "the file has 600003 characters, 524288 is the most"),
    ],
    ids=[
        "aliases",
        "itself",
        "lists",
        "deep flow",
        "deep spec",
        "nan",
        "inf",
        "digits",
        "date",
        "number as name",
        "set",
        "half",
        "not YAML",
        "month",
        "long",
    ],
)
def test_a_file_that_is_more_than_yaml_should_be_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidPool, match=sentence) as caught:
        load_pools(text, cel.evaluate)
    assert len(caught.value.problems) == 1
    assert len(caught.value.problems[0]) < 500


def test_what_json_does_not_have_may_be_in_objects_of_other_kinds() -> None:
    (pool,) = load_pools(f"apiVersion: v1\nkind: ConfigMap\ndata: {{day: 2026-11-28, 1: .nan}}\n---\n{FILE}", cel.evaluate)
    assert pool.metadata.name == "digits"


def test_a_spec_survives_the_wire() -> None:
    spec = load_pools(FILE)[0].spec
    assert decode_spec(encode_spec(spec)) == spec


def test_fields_of_a_newer_version_are_passed_over() -> None:
    newer = {**json.loads(encode_spec(load_pools(FILE)[0].spec)), "fromTheFuture": {"a": 1}}
    assert decode_spec(json.dumps(newer)).worker.processes == 2


@pytest.mark.parametrize("text", ["", "{}", '{"worker": {"adapter": 3}}', "[]", b"\xff", '"\\ud800"', '{"a":' * 100_000])
def test_settings_that_cannot_be_read_are_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidArguments, match="pool settings can't be read"):
        decode_spec(text)


def test_defaults_of_the_schema_and_of_the_typed_values_are_the_same() -> None:
    by_schema = load_pools(yaml.dump(document()))[0].spec
    by_type = msgspec.convert({"worker": {"adapter": "digits.tools:Digits"}}, SnakePoolSpec)
    assert by_schema == by_type


def test_agents_need_nothing_but_msgspec_for_it() -> None:
    program = "import sys, snakepit.spec; print([m for m in ('yaml', 'grpc', 'google.protobuf', 'cel') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
