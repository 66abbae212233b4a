"""Struct and Value to payloads and back."""

import json

import pytest
from google.protobuf import struct_pb2

from snakepit.errors import InvalidArguments
from snakepit.v1 import common_pb2
from snakepit_control_plane.servers import json_form


def test_whole_numbers_become_integers_and_everything_else_stays() -> None:
    struct = struct_pb2.Struct()
    value = {"whole": 3, "part": 1.5, "text": "x", "none": None, "yes": True, "list": [1, {"a": -2}], "huge": 1e300}
    struct.update(value)
    decoded = json.loads(json_form.from_struct(struct).data)
    assert decoded == value
    assert isinstance(decoded["whole"], int)
    assert isinstance(decoded["huge"], float)


@pytest.mark.parametrize("plain", [None, True, 1, 1.5, "text", [1, [2]], {"a": {"b": [None]}}])
def test_a_result_comes_back_as_the_same_json(plain: object) -> None:
    payload = common_pb2.Payload(content_type="application/json", data=json.dumps(plain).encode())
    back = json_form.from_value(common_pb2.Value(json=json_form.to_value(payload)))
    assert json.loads(back.data) == plain


def test_attachments_appear_in_their_places_as_base64() -> None:
    payload = common_pb2.Payload(
        data=b'[{"$attachment": 0}, {"$attachment": 1}]',
        attachments=[
            common_pb2.Attachment(data=b"\x00\x01"),
            common_pb2.Attachment(data=b"\x02", dtype="|u1", shape=[1]),
        ],
    )
    one, two = json_form.to_value(payload).list_value.values
    assert dict(one.struct_value) == {"$base64": "AAE="}
    assert (two.struct_value["dtype"], two.struct_value["$base64"], list(two.struct_value["shape"])) == ("|u1", "Ag==", [1.0])


def test_a_value_in_no_form_is_refused_with_a_sentence() -> None:
    with pytest.raises(InvalidArguments, match=r"value\.json"):
        json_form.from_value(common_pb2.Value())


def test_equal_arguments_become_equal_bytes_where_that_is_asked() -> None:
    names = [f"name-{number}" for number in range(40)]
    one, other = struct_pb2.Struct(), struct_pb2.Struct()
    one.update({name: {"a": 1, "b": [name]} for name in names})
    other.update({name: {"b": [name], "a": 1} for name in reversed(names)})
    assert json_form.from_struct(one, same_bytes=True) == json_form.from_struct(other, same_bytes=True)
