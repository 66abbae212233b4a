"""Values as payloads, and back."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import subprocess
import sys
import uuid
from typing import Any

import msgspec
import numpy
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakepit import InvalidArguments
from snakepit._ipc.frames import Attachment, Payload
from snakepit._values import payloads


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    data: bytes = b""


class Record(msgspec.Struct):
    name: str
    array: Any = None


class Model(pydantic.BaseModel):
    when: datetime.date


class Hostile:
    """Everything that could be asked of it fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@dataclasses.dataclass
class Page:
    charts: list[Attachment]
    next: Page | None = None


class Sheet(msgspec.Struct, tag=True, rename="camel"):
    front_page: Page
    cover: Attachment | None = None


def round_trip(value: Any) -> Any:
    return payloads.decode(payloads.encode(value))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@settings(max_examples=50, deadline=None)
@given(JSON)
def test_every_json_value_comes_back_as_it_was(value: Any) -> None:
    assert round_trip(value) == value


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        SCALARS | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1, max_size=3), inner), max_leaves=30
    )
)
def test_bytes_come_back_wherever_they_are_also_inline(value: Any) -> None:
    assert round_trip(value) == value
    inline = payloads.encode_inline(value)
    assert not inline.attachments
    assert payloads.decode(inline) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-math.inf, -math.inf),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        ({1: "a", None: "b"}, {"1": "a", "$unserializable:builtins.NoneType": "b"}),
        (Colour.RED, "red"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00Z"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (Point(1, b"x"), {"x": 1, "data": b"x"}),
        (Record("n", [b"y"]), {"name": "n", "array": [b"y"]}),
        (Model(when=datetime.date(2026, 1, 2)), {"when": "2026-01-02"}),
        (numpy.float32(1.5), 1.5),
        (numpy.int64(7), 7),
        (bytearray(b"z"), b"z"),
        (memoryview(b"z"), b"z"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_travel_as_documented(value: Any, expected: Any) -> None:
    assert round_trip(value) == expected
    assert round_trip({"deep": [value]}) == {"deep": [expected]}


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "builtins.object"),
        (Hostile(), f"{Hostile.__module__}.Hostile"),
        (cycle(), "builtins.list"),
        ("\ud800", "builtins.str"),
        (lambda: None, "builtins.function"),
    ],
    ids=["object", "hostile", "cycle", "lone surrogate", "function"],
)
def test_what_can_not_travel_becomes_a_marker_without_its_repr(value: Any, name: str) -> None:
    assert round_trip(value) == {"$unserializable": name}


def test_one_odd_value_does_not_spoil_its_neighbours() -> None:
    assert round_trip({"a": [1, object()], "b": b"x"}) == {"a": [1, {"$unserializable": "builtins.object"}], "b": b"x"}


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "complex128", "datetime64[s]", ">i2"])
def test_arrays_keep_dtype_shape_and_values(dtype: str) -> None:
    array = numpy.arange(12).reshape(3, 4).astype(dtype)
    for encoded in (payloads.encode([array]), payloads.encode_inline([array])):
        (back,) = payloads.decode(encoded)
        assert back.dtype == array.dtype
        assert numpy.array_equal(back, array)


def test_an_array_keeps_nan_and_a_strided_one_is_packed() -> None:
    assert numpy.isnan(round_trip(numpy.array([numpy.nan]))[0])
    assert numpy.array_equal(round_trip(numpy.arange(10)[::2]), numpy.arange(0, 10, 2))


def test_arrays_of_objects_and_records_travel_as_lists() -> None:
    assert round_trip(numpy.array([1, "a"], dtype=object)) == [1, "a"]
    assert round_trip(numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])) == [[1, 2.0]]


@pytest.mark.parametrize("kind", [payloads.JSON, payloads.MSGPACK])
def test_files_in_the_fields_of_dataclasses_and_structs_stay_files(kind: str) -> None:
    """msgspec makes arrays of them, as an Attachment is a Struct itself."""
    first, second = Attachment("image/png", b"1"), Attachment("application/pdf", b"2")
    value = [Sheet(Page([first], Page([second])), second), Sheet(Page([]))]
    assert payloads.decode(payloads.encode(value, kind)) == [
        {"type": "Sheet", "frontPage": {"charts": [b"1"], "next": {"charts": [b"2"], "next": None}}, "cover": b"2"},
        {"type": "Sheet", "frontPage": {"charts": [], "next": None}, "cover": None},
    ]


def test_msgpack_is_read_too() -> None:
    assert payloads.decode(Payload(msgspec.msgpack.encode({"a": b"x"}), payloads.MSGPACK)) == {"a": b"x"}


@pytest.mark.parametrize(
    "broken",
    [
        Payload(b"{"),
        Payload(b"\xc1", payloads.MSGPACK),
        Payload(b"x", "application/x-pickle"),
        Payload(b'{"$attachment":1}', attachments=(Attachment("a/b", b""),)),
        Payload(b'{"$attachment":0}', attachments=(Attachment(payloads.NDARRAY, b"123", "f8", (1,)),)),
        Payload(b'{"$attachment":0}', attachments=(Attachment(payloads.NDARRAY, b"12345678", "O", (1,)),)),
    ],
    ids=["json", "msgpack", "content type", "attachment number", "array size", "array of objects"],
)
def test_a_payload_that_is_not_what_it_says_is_refused(broken: Payload) -> None:
    with pytest.raises(InvalidArguments):
        payloads.decode(broken)


def test_a_value_that_looks_like_an_attachment_is_itself_where_there_are_none() -> None:
    assert round_trip({"$attachment": 0}) == {"$attachment": 0}


def test_an_authors_import_brings_neither_numpy_nor_grpc_nor_the_client() -> None:
    encode = "payloads.encode({'a': object()}); print(*sys.modules)"
    program = f"import sys; from snakepit import Adapter, Context, tool; from snakepit._values import payloads; {encode}"
    names = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30).stdout.split()
    assert "snakepit.author.context" in names
    assert not {"numpy", "grpc", "google.protobuf", "snakepit.client", "snakepit._wire", "yaml", "asyncio", "logging"} & set(names)


def test_to_mark_tools_brings_next_to_nothing() -> None:
    program = (
        "import sys; from snakepit import Adapter, tool; print(*(name for name in sys.modules if name.startswith(('snakepit', 'msgspec'))))"
    )
    names = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30).stdout.split()
    assert sorted(names) == ["snakepit", "snakepit.author", "snakepit.author.adapter"]


@pytest.mark.parametrize("kind", [payloads.JSON, payloads.MSGPACK], ids=["json", "msgpack"])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [("\ud800", "argument 'odd' has '.ud800', half of a surrogate pair"), (cycle(), "argument 'odd' holds itself")],
    ids=["lone surrogate", "cycle"],
)
def test_an_argument_that_would_spoil_them_all_is_refused_by_its_name(value: Any, sentence: str, kind: str) -> None:
    with pytest.raises(InvalidArguments, match=sentence):
        payloads.encode_arguments({"a": 1, "odd": [value]}, kind)


def test_pickle_carries_halves_of_surrogate_pairs() -> None:
    assert payloads.decode(payloads.encode_arguments({"a": "\ud800"}, payloads.PICKLE), trusted=True) == {"a": "\ud800"}


@pytest.mark.parametrize("number", [-1, -2, 2, 1 << 70])
@pytest.mark.parametrize("form", ['{{"$attachment":{}}}', '[{{"$attachment":{}}}]', '{{"$float":"nan","x":{{"$attachment":{}}}}}'])
def test_an_attachment_that_is_not_there_is_refused_also_when_it_is_counted_from_the_end(form: str, number: int) -> None:
    attachments = (Attachment("application/octet-stream", b"a"), Attachment("application/octet-stream", b"b"))
    with pytest.raises((InvalidArguments, ValueError), match=f"it refers to attachment {number}, and there are 2"):
        payloads.decode(Payload(form.format(number).encode(), attachments=attachments))
