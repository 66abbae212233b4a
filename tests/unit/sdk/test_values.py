"""Every row of the table in docs/payloads.md, through the encodings and the `json` form; and the table itself."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import pickle
import re
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from snakepit._ipc.frames import Attachment, Payload
from snakepit._values import payloads
from snakepit._values.serializer import MAX_WARNINGS
from snakepit.errors import InvalidArguments, SnakepitError
from snakepit.v1 import common_pb2
from snakepit_control_plane.servers import json_form
from support.foreign import FOREIGN
from support.rows import MARKED, ROWS, Row, same

PAGE = Path(__file__).resolve().parents[3] / "docs/payloads.md"

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def on_the_wire(encoded: Payload) -> common_pb2.Payload:
    wire = common_pb2.Payload(content_type=encoded.content_type, data=encoded.data)
    for each in encoded.attachments:
        wire.attachments.add(content_type=each.content_type, data=bytes(each.data), dtype=each.dtype, shape=each.shape)
    return wire


def as_python(value: struct_pb2.Value) -> Any:
    """As grpcurl shows it."""
    return json_format.MessageToDict(value)


def as_struct(value: Any) -> struct_pb2.Struct:
    return json_format.ParseDict({"value": value}, struct_pb2.Struct())


def test_the_table_and_these_tests_speak_of_the_same_kinds() -> None:
    kinds = re.findall(r"^\| ([^|`]+?) \|", PAGE.read_text().partition("## The table")[2].partition("\n## ")[0], re.MULTILINE)
    assert [kind for kind in kinds if kind != "kind"] == list(
        dict.fromkeys(row.kind for row in [*ROWS.values(), *FOREIGN.values(), *MARKED.values()])
    )


@every_row
def test_json_is_written_as_the_table_says_and_read_back(row: Row) -> None:
    encoded = payloads.encode(row.value)
    assert encoded.data.decode() == row.text
    assert tuple((bytes(a.data), a.dtype, a.shape) for a in encoded.attachments) == row.attachments
    assert encoded.warnings == ()
    assert same(payloads.decode(encoded), row.back)


@every_row
@pytest.mark.parametrize("around", [lambda value: [value], lambda value: {"a": {"b": value, "c": 1}}], ids=["in a list", "in an object"])
def test_a_value_travels_the_same_inside_another(row: Row, around: Any) -> None:
    assert same(payloads.decode(payloads.encode(around(row.value))), around(row.back))


@every_row
def test_msgpack_gives_the_same_back_without_attachments(row: Row) -> None:
    encoded = payloads.encode(row.value, payloads.MSGPACK)
    assert (encoded.content_type, encoded.attachments, encoded.warnings) == (payloads.MSGPACK, (), ())
    assert same(payloads.decode(encoded), row.back)


@every_row
def test_state_gives_the_same_back(row: Row) -> None:
    encoded = payloads.encode_inline(row.value)
    assert not encoded.attachments
    assert same(payloads.decode(encoded), row.back)


@every_row
@pytest.mark.parametrize("content_type", [payloads.JSON, payloads.MSGPACK])
def test_the_json_form_shows_it_and_takes_it_back(row: Row, content_type: str) -> None:
    shown = as_python(json_form.to_value(on_the_wire(payloads.encode(row.value, content_type))))
    assert shown == row.json_form
    taken = json_form.from_struct(as_struct(row.json_form))
    assert taken.content_type == payloads.JSON
    attachments = tuple((a.data, a.dtype, tuple(a.shape)) for a in taken.attachments)
    assert (json.loads(taken.data), attachments) == ({"value": json.loads(row.text)}, row.attachments)


def test_nan_as_a_number_of_a_struct_is_not_lost() -> None:
    struct = struct_pb2.Struct(fields={"value": struct_pb2.Value(number_value=math.nan)})
    assert json_form.from_struct(struct).data == b'{"value":{"$float":"NaN"}}'


def test_state_in_the_json_form_may_hold_bytes() -> None:
    value = common_pb2.Value(json=json_format.ParseDict({"a": {"$base64": "AAE="}}, struct_pb2.Value()))
    stored = json_form.from_value(value)
    assert not stored.attachments
    assert as_python(json_form.to_value(stored)) == {"a": {"$base64": "AAE="}}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"$base64": "?"}, r"\$base64 must be base64 text"),
        ({"$base64": 3}, r"\$base64 must be base64 text"),
        ({"$integer": "x"}, r"\$integer must be an integer"),
        ({"$integer": math.inf}, r"\$integer must be an integer"),
        ({"$base64": "AAE=", "dtype": "<f8"}, "shape must be a list of whole numbers"),
        ({"$base64": "AAE=", "dtype": "<f8", "shape": [1.5]}, "shape must be a list of whole numbers"),
        ({"$base64": "AAE=", "dtype": "<f8", "shape": [-1]}, "shape must be a list of whole numbers"),
        ({"$base64": "AAE=", "dtype": "<f8", "shape": "23"}, "shape must be a list of whole numbers"),
    ],
    ids=["no base64", "no text", "no integer", "infinite", "no shape", "part of one", "negative", "shape as text"],
)
def test_an_object_with_a_key_of_ours_that_is_not_what_it_says_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(InvalidArguments, match=sentence):
        json_form.from_struct(as_struct(value))


def test_a_key_of_ours_beside_others_is_an_ordinary_key() -> None:
    value = {"$integer": "x", "other": 1}
    assert json.loads(json_form.from_struct(as_struct(value)).data) == {"value": value}
    assert payloads.decode(payloads.encode({"$float": "NaN", "a": math.nan}))["$float"] == "NaN"


@pytest.mark.parametrize("content_type", [payloads.JSON, payloads.MSGPACK, payloads.PICKLE])
@pytest.mark.parametrize("row", MARKED.values(), ids=MARKED)
def test_what_can_not_be_carried_becomes_a_marker_and_a_warning_without_its_repr(row: Row, content_type: str) -> None:
    encoded = payloads.encode(row.value, content_type)
    back = payloads.decode(encoded, trusted=True)
    if encoded.content_type == payloads.PICKLE:  # which carries more
        assert repr(back) == repr(row.value)
        return
    assert same(back, row.back)
    (warning,) = encoded.warnings
    assert "can't be carried" in warning
    assert "secret" not in warning


INSTEAD = "a marker stands in its place; turn it into text, numbers, a list, a dict or bytes"


def test_warnings_say_where_and_are_bounded() -> None:
    lock = threading.Lock()
    assert payloads.encode({"a": [1, lock]}).warnings == (f"$.a[1] is a _thread.lock, which can't be carried: {INSTEAD}",)
    assert payloads.encode(lock).warnings == (f"the value is a _thread.lock, which can't be carried: {INSTEAD}",)
    assert payloads.encode({lock: 1}).warnings[0].startswith("a key of $ is a _thread.lock")
    many = payloads.encode([lock] * 100).warnings
    assert len(many) == MAX_WARNINGS
    assert many[-1].startswith("93 more")


def test_a_cycle_is_a_marker_in_every_encoding_but_pickle() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for content_type in (payloads.JSON, payloads.MSGPACK):
        encoded = payloads.encode(cycle, content_type)
        assert payloads.decode(encoded) == {"$unserializable": "builtins.list"}
        assert len(encoded.warnings) == 1


def test_pickle_is_read_only_where_it_is_trusted() -> None:
    encoded = payloads.encode({"a": {1, 2}, "b": 1j}, payloads.PICKLE)
    assert payloads.decode(encoded, trusted=True) == {"a": {1, 2}, "b": 1j}
    with pytest.raises(InvalidArguments, match="pickle only where both ends agreed"):
        payloads.decode(encoded)
    with pytest.raises(InvalidArguments, match="application/x-python-pickle"):
        payloads.decode(Payload(pickle.dumps(1)[:-1], payloads.PICKLE), trusted=True)


def test_large_values_are_not_copied_on_their_way_into_the_frame_nor_into_the_array() -> None:
    array = numpy.zeros(1000)
    (attachment,) = payloads.encode(array).attachments
    assert numpy.shares_memory(numpy.frombuffer(attachment.data), array)
    received = bytes(attachment.data)
    arrived = payloads.decode(Payload(b'{"$attachment":0}', attachments=(Attachment(payloads.NDARRAY, received, "<f8", (1000,)),)))
    assert numpy.shares_memory(arrived, numpy.frombuffer(received))


def test_without_numpy_an_array_arrives_as_a_memoryview(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = payloads.encode([ROWS["array"].value, ROWS["big-endian array"].value])
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    view, foreign = payloads.decode(encoded)
    assert (view.format, view.shape, view[0, 0]) == ("f", (2, 2), 1.5)
    assert (foreign.dtype, foreign.shape) == (">i2", (2,))


# ---- what should not be there


DEEP = b"[" * 5000 + b"]" * 5000


@pytest.mark.parametrize(
    "poison",
    [
        Payload(DEEP),
        Payload(b"[" * 600 + b"]" * 600, attachments=(Attachment(payloads.OCTETS, b""),)),
        Payload(b"\x91" * 5000 + b"\xc0", payloads.MSGPACK),
        Payload(b"9" * 10_000),
        Payload(b'{"$attachment":0}', attachments=(Attachment(payloads.NDARRAY, b"12345678", "<f8", (-2, 3)),)),
        Payload(b'{"$attachment":0}', attachments=(Attachment(payloads.NDARRAY, b"12345678", "nonsense", (1,)),)),
        Payload(b'{"$attachment":0}', attachments=(Attachment(payloads.NDARRAY, b"12345678", "V0", (1,)),)),
        Payload(msgspec.msgpack.encode({"$ndarray": [1, 2]}), payloads.MSGPACK),
        Payload(msgspec.msgpack.encode({"$integer": "9" * 5000}), payloads.MSGPACK),
    ],
    ids=["deep", "deep beside attachments", "deep msgpack", "long number", "shape", "dtype", "empty dtype", "no array", "long integer"],
)
def test_a_hostile_payload_is_refused_and_no_other_error(poison: Payload) -> None:
    with pytest.raises(InvalidArguments):
        payloads.decode(poison)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=40), st.sampled_from(["", payloads.JSON, payloads.MSGPACK, "text/plain"]), st.binary(max_size=9), st.text(max_size=4)
)
def test_random_bytes_are_a_value_or_refused(data: bytes, content_type: str, attached: bytes, dtype: str) -> None:
    attachment = Attachment(payloads.NDARRAY if dtype else "", attached, dtype, (len(attached),))
    for attachments in ((), (attachment,)):
        with contextlib.suppress(InvalidArguments):
            payloads.decode(Payload(data, content_type, attachments))


def test_a_result_that_is_too_deep_for_a_value_says_what_to_ask_for() -> None:
    for depth in (40, 600, 5000):
        with pytest.raises(SnakepitError, match="ask for the payload form"):
            json_form.to_value(common_pb2.Payload(data=b"[" * depth + b"]" * depth))
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        shown = json_form.to_value(common_pb2.Payload(data=opening * json_form.MAX_DEPTH + b"1" + closing * json_form.MAX_DEPTH))
        assert struct_pb2.Value.FromString(shown.SerializeToString()) == shown


def test_fields_whose_annotations_only_a_type_checker_can_read_are_carried() -> None:
    """No such name, no such member of a module, and no expression."""
    for annotation in ("Nowhere", "json.Nowhere", "1 +"):
        made = dataclasses.make_dataclass("Made", [("number", annotation), ("file", annotation)], namespace={"__module__": __name__})
        encoded = payloads.encode(made(1, Attachment("text/plain", b"tea")))
        assert json.loads(encoded.data) == {"number": 1, "file": {"$attachment": 0}}
        assert [bytes(each.data) for each in encoded.attachments] == [b"tea"]
