"""A value of every kind that docs/payloads.md speaks of, and what becomes of it. Imported by tests and by the workers that they call."""

from __future__ import annotations

import array
import base64
import ctypes
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import math
import pathlib
import sqlite3
import threading
import types
import uuid
from collections import deque
from typing import Any, NamedTuple

import msgspec
import numpy
import pandas
import pydantic

from snakepit._values.payloads import UNSERIALIZABLE


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int
    data: bytes = b""


@dataclasses.dataclass
class Picky:
    """Its author's own check raises what it likes."""

    x: int

    def __post_init__(self) -> None:
        raise LookupError("no such x")


class Record(msgspec.Struct):
    name: str
    rest: Any = None


class Model(pydantic.BaseModel):
    when: datetime.date


class Pair(NamedTuple):
    a: int
    b: int


class Text(str): ...


class Aliased(pydantic.BaseModel):
    """With a field that pydantic itself has no JSON for."""

    full_name: str = pydantic.Field(alias="fullName")
    data: bytes = b""


def row_of_sqlite() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute("select 1 as a, 'x' as b").fetchone()
    finally:
        connection.close()


UTC = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
PIXELS = numpy.array([[1.5, math.nan], [math.inf, 0.0]], dtype="<f4")
LOCK = "_thread.lock"


def b64(data: bytes, **array: Any) -> dict[str, Any]:
    """Bytes, or an array, in the `json` form."""
    return {"$base64": base64.b64encode(data).decode(), **array}


class Row(NamedTuple):
    """`kind`: the row of the table. `text`: the payload's JSON. `back`: in Python. `json`: in the `json` form, None: as `back`."""

    kind: str
    value: Any
    text: str
    back: Any
    json: Any = None
    attachments: tuple[tuple[bytes, str, tuple[int, ...]], ...] = ()

    @property
    def json_form(self) -> Any:
        return self.back if self.json is None else self.json


def attached(kind: str, value: Any, data: bytes, back: Any, dtype: str = "", shape: tuple[int, ...] = ()) -> Row:
    """A row whose value is one attachment."""
    json = b64(data, dtype=dtype, shape=list(shape)) if dtype else b64(data)
    return Row(kind, value, '{"$attachment":0}', back, json, ((data, dtype, shape),))


def plain(kind: str, value: Any, text: str, back: Any) -> Row:
    return Row(kind, value, text, back)


JSON_KIND = "null, booleans, text, lists, objects"
MOMENTS = "datetime, date, time, timedelta"
TEXTS = "Decimal, UUID, Fraction, complex, IP addresses"
LISTS = "tuple, set, frozenset, deque, named tuple, range"
SUBCLASSES = "subclasses of text, numbers, bytes; paths"
NANO = "2026-01-02T03:04:05.500000000"
KEYS = "other mappings; keys that are no text"
BIG = 2**53 + 1
HUGE = 2**70
ROWS: dict[str, Row] = {
    "null": plain(JSON_KIND, None, "null", None),
    "true": plain(JSON_KIND, True, "true", True),
    "text": plain(JSON_KIND, "ä€\0", '"ä€\\u0000"', "ä€\0"),
    "nested": plain(JSON_KIND, {"a": [1, {"b": None}]}, '{"a":[1,{"b":null}]}', {"a": [1, {"b": None}]}),
    "empty text": plain("empty ones", "", '""', ""),
    "empty list": plain("empty ones", [], "[]", []),
    "empty object": plain("empty ones", {}, "{}", {}),
    "empty bytes": attached("empty ones", b"", b"", b""),
    "empty array": attached("empty ones", numpy.zeros((0, 3), "<f8"), b"", numpy.zeros((0, 3), "<f8"), "<f8", (0, 3)),
    "integer": plain("integers up to 2^53", -7, "-7", -7),
    "2^53": plain("integers up to 2^53", 2**53, str(2**53), 2**53),
    "over 2^53": Row("larger integers", BIG, str(BIG), BIG, {"$integer": str(BIG)}),
    "over 2^64": Row("larger integers", HUGE + 1, str(HUGE + 1), HUGE + 1, {"$integer": str(HUGE + 1)}),
    "number": plain("finite floats", 1.5, "1.5", 1.5),
    "NaN": Row("NaN and the infinities", math.nan, '{"$float":"NaN"}', math.nan, {"$float": "NaN"}),
    "infinity": Row("NaN and the infinities", math.inf, '{"$float":"Infinity"}', math.inf, {"$float": "Infinity"}),
    "-infinity": Row(
        "NaN and the infinities",
        {"a": [-math.inf, None]},
        '{"a":[{"$float":"-Infinity"},null]}',
        {"a": [-math.inf, None]},
        {"a": [{"$float": "-Infinity"}, None]},
    ),
    "bytes": attached("bytes", b"\x00\xff", b"\x00\xff", b"\x00\xff"),
    "bytearray": attached("bytes", bytearray(b"z"), b"z", b"z"),
    "memoryview": attached("bytes", memoryview(b"zyx")[::2], b"zx", b"zx"),
    "array": attached("numpy arrays", PIXELS, PIXELS.tobytes(), PIXELS, "<f4", (2, 2)),
    "big-endian array": attached("numpy arrays", numpy.array([1, 2], ">i2"), b"\0\1\0\2", numpy.array([1, 2], ">i2"), ">i2", (2,)),
    "strided array": attached("numpy arrays", numpy.arange(6, dtype="|u1")[::2], b"\0\2\4", numpy.array([0, 2, 4], "|u1"), "|u1", (3,)),
    "array of a scalar": attached("numpy arrays", numpy.array(7, "<i8"), (7).to_bytes(8, "little"), numpy.array(7, "<i8"), "<i8", ()),
    "array.array": attached("other buffers", array.array("h", [1, 2]), b"\1\0\2\0", numpy.array([1, 2], "<i2"), "<i2", (2,)),
    "ctypes array": attached("other buffers", (ctypes.c_int32 * 1)(5), b"\5\0\0\0", numpy.array([5], "<i4"), "<i4", (1,)),
    "array of objects": plain("numpy arrays of objects or records, masked arrays", numpy.array([1, "a"], object), '[1,"a"]', [1, "a"]),
    "masked array": plain("numpy arrays of objects or records, masked arrays", numpy.ma.array([1, 2], mask=[0, 1]), "[1,null]", [1, None]),
    "numpy scalar": plain("numpy scalars", numpy.float32(1.5), "1.5", 1.5),
    "datetime": plain(MOMENTS, UTC, '"2026-01-02T03:04:05.000006Z"', "2026-01-02T03:04:05.000006Z"),
    "naive datetime": plain(MOMENTS, UTC.replace(tzinfo=None), '"2026-01-02T03:04:05.000006"', "2026-01-02T03:04:05.000006"),
    "date": plain(MOMENTS, UTC.date(), '"2026-01-02"', "2026-01-02"),
    "time": plain(MOMENTS, datetime.time(1, 2), '"01:02:00"', "01:02:00"),
    "timedelta": plain(MOMENTS, datetime.timedelta(days=1, seconds=2), '"P1DT2S"', "P1DT2S"),
    "timestamp of pandas": plain(MOMENTS, pandas.Timestamp(UTC), '"2026-01-02T03:04:05.000006Z"', "2026-01-02T03:04:05.000006Z"),
    "NaT": plain(MOMENTS, [pandas.NaT, numpy.datetime64("NaT"), pandas.NA], "[null,null,null]", [None, None, None]),
    "datetime64": plain(MOMENTS, numpy.datetime64("2026-01-02T03:04:05.5", "ns"), f'"{NANO}"', NANO),
    "timedelta of pandas": plain(MOMENTS, pandas.Timedelta(days=1), '"P1D"', "P1D"),
    "decimal": plain(TEXTS, decimal.Decimal("1.10"), '"1.10"', "1.10"),
    "uuid": plain(TEXTS, uuid.UUID(int=1), f'"{uuid.UUID(int=1)}"', str(uuid.UUID(int=1))),
    "fraction": plain(TEXTS, fractions.Fraction(1, 3), '"1/3"', "1/3"),
    "complex": plain(TEXTS, [1j, numpy.complex64(2)], '["1j","(2+0j)"]', ["1j", "(2+0j)"]),
    "address": plain(TEXTS, [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_network("::/8")], '["10.0.0.1","::/8"]', ["10.0.0.1", "::/8"]),
    "enum": plain("Enum", Colour.RED, '"red"', "red"),
    "int enum": plain("Enum", Level.LOW, "1", 1),
    "tuple": plain(LISTS, (1, (2,)), "[1,[2]]", [1, [2]]),
    "set": plain(LISTS, {3}, "[3]", [3]),
    "deque": plain(LISTS, deque([1]), "[1]", [1]),
    "named tuple": plain(LISTS, Pair(1, 2), "[1,2]", [1, 2]),
    "range": plain(LISTS, range(1, 4), "[1,2,3]", [1, 2, 3]),
    "views": plain(LISTS, [{"a": 1}.keys(), {"a": 1}.values(), {"a": 1}.items()], '[["a"],[1],[["a",1]]]', [["a"], [1], [["a", 1]]]),
    "row of a database": plain(LISTS, row_of_sqlite(), '[1,"x"]', [1, "x"]),
    "index of pandas": plain(LISTS, pandas.Index(["a", "b"]), '["a","b"]', ["a", "b"]),
    "dataclass": Row(
        "dataclass, msgspec.Struct, attrs",
        Point(1, b"x"),
        '{"x":1,"data":{"$attachment":0}}',
        {"x": 1, "data": b"x"},
        {"x": 1, "data": b64(b"x")},
        ((b"x", "", ()),),
    ),
    "struct": plain("dataclass, msgspec.Struct, attrs", Record("n", [1]), '{"name":"n","rest":[1]}', {"name": "n", "rest": [1]}),
    "model": plain("pydantic models", Model(when=UTC.date()), '{"when":"2026-01-02"}', {"when": "2026-01-02"}),
    "aliased model": Row(
        "pydantic models",
        Aliased(fullName="Ada", data=b"\xff"),
        '{"fullName":"Ada","data":{"$attachment":0}}',
        {"fullName": "Ada", "data": b"\xff"},
        {"fullName": "Ada", "data": b64(b"\xff")},
        ((b"\xff", "", ()),),
    ),
    "mapping": plain(KEYS, types.MappingProxyType({"a": 1}), '{"a":1}', {"a": 1}),
    "keys": plain(KEYS, {1: "a", UTC.date(): "b"}, '{"1":"a","2026-01-02":"b"}', {"1": "a", "2026-01-02": "b"}),
    "keys of numpy": plain(KEYS, {numpy.int64(1): "a", numpy.int64(2): "b"}, '{"1":"a","2":"b"}', {"1": "a", "2": "b"}),
    "subclass": plain(SUBCLASSES, Text("x"), '"x"', "x"),
    "path": plain(SUBCLASSES, pathlib.PurePosixPath("/a/b"), '"/a/b"', "/a/b"),
}


MARKED: dict[str, Row] = {
    "lock": plain("anything else", {"fine": 1, "odd": [threading.Lock()]}, "", {"fine": 1, "odd": [{UNSERIALIZABLE: LOCK}]}),
    "function": plain("anything else", print, "", {UNSERIALIZABLE: "builtins.builtin_function_or_method"}),
    "exception": plain("anything else", ValueError("secret"), "", {UNSERIALIZABLE: "builtins.ValueError"}),
}
"""Values that can't be carried."""


def same(one: Any, other: Any) -> bool:
    """Equal, of the same type, NaN like NaN, at every depth."""
    if isinstance(one, numpy.ndarray):
        return (
            isinstance(other, numpy.ndarray) and one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return bool(one.keys() == other.keys()) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))
