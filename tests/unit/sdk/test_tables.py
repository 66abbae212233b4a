"""Tables, tensors and images: as Arrow streams, arrays and files, in both directions, with and without the libraries."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy
import pandas
import PIL.Image
import polars
import pyarrow
import pydantic
import pytest

from snakepit import Adapter, InvalidArguments, PayloadWarning, tool
from snakepit._ipc.frames import Attachment, Payload
from snakepit._values import payloads
from snakepit.author.tools import discover
from snakepit.v1 import common_pb2
from snakepit_control_plane.servers import json_form
from support.foreign import ARROW, FOREIGN, FRAME, POLARS, TABLE, Foreign, Tensor

every = pytest.mark.parametrize("row", FOREIGN.values(), ids=FOREIGN)
every_encoding = pytest.mark.parametrize("content_type", [payloads.JSON, payloads.MSGPACK])


@every
@every_encoding
def test_it_arrives_as_what_it_was(row: Foreign, content_type: str) -> None:
    encoded = payloads.encode({"a": [row.value]}, content_type)
    assert encoded.warnings == ()
    back = payloads.decode(encoded)["a"][0]
    assert type(back) is row.back
    assert row.read(back) == row.read(row.value)


@every
def test_the_attachment_says_what_it_is(row: Foreign) -> None:
    (attachment,) = payloads.encode(row.value).attachments
    assert (attachment.content_type, attachment.dtype) == (row.content_type, row.dtype)
    if row.content_type == ARROW:  # which every reader of Arrow can read
        rows = row.value.num_rows if row.back is pyarrow.Table else len(row.value)
        assert pyarrow.ipc.open_stream(attachment.data).read_all().num_rows == attachment.shape[0] == rows


@every
def test_the_json_form_of_plain_grpc_shows_it_and_takes_it_back(row: Foreign) -> None:
    encoded = payloads.encode({"value": row.value})
    wire = common_pb2.Payload(content_type=encoded.content_type, data=encoded.data)
    for each in encoded.attachments:
        wire.attachments.add(content_type=each.content_type, data=bytes(each.data), dtype=each.dtype, shape=each.shape)
    taken = json_form.from_struct(json_form.to_value(wire).struct_value)
    assert taken == wire
    inline = payloads.encode({"value": row.value}, payloads.MSGPACK)
    shown = json_form.to_value(common_pb2.Payload(content_type=inline.content_type, data=inline.data))
    assert shown == json_form.to_value(wire)


@every
def test_state_keeps_it(row: Foreign) -> None:
    kept = payloads.encode_inline(row.value)
    assert not kept.attachments
    assert row.read(payloads.decode(kept)) == row.read(row.value)


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    frame: pandas.DataFrame


class Asks(Adapter):
    @tool
    def pandas(self, value: pandas.DataFrame) -> None: ...

    @tool
    def series(self, value: pandas.Series | None) -> None: ...

    @tool
    def polars(self, value: list[polars.DataFrame]) -> None: ...

    @tool
    def arrow(self, value: pyarrow.Table, other: object = None) -> None: ...

    @tool
    def image(self, value: PIL.Image.Image) -> None: ...

    @tool
    def array(self, value: numpy.ndarray[Any, Any]) -> None: ...

    @tool
    def model(self, value: Model) -> None: ...


TOOLS = discover(Asks())
TABLES = (FRAME, POLARS, TABLE)


def decode(name: str, encoded: Payload) -> Any:
    return TOOLS[name].decode(encoded)


@every_encoding
def test_a_tool_gets_the_kind_that_its_annotation_asks_for_whatever_was_sent(content_type: str) -> None:
    for table in TABLES:
        assert type(decode("pandas", payloads.encode({"value": table}, content_type))["value"]) is pandas.DataFrame
        assert type(decode("arrow", payloads.encode({"value": table}, content_type))["value"]) is pyarrow.Table
        assert type(decode("polars", payloads.encode({"value": [table]}, content_type))["value"][0]) is polars.DataFrame


def test_what_is_asked_for_as_no_kind_beside_it_arrives_as_what_it_was() -> None:
    found = decode("arrow", payloads.encode({"value": FRAME, "other": {"a": [POLARS]}}))
    assert (type(found["value"]), type(found["other"]["a"][0])) == (pyarrow.Table, polars.DataFrame)


def test_other_languages_send_records_columns_or_the_bytes_of_a_stream() -> None:
    records = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    columns = {"a": [1, 2], "b": ["x", "y"]}
    stream = bytes(payloads.encode(pandas.DataFrame(columns)).attachments[0].data)
    for given in (records, columns, stream):
        assert decode("pandas", payloads.encode({"value": given}))["value"].to_dict("list") == columns
        assert decode("arrow", payloads.encode({"value": given}))["value"].to_pydict() == columns
        assert decode("polars", payloads.encode({"value": [given]}))["value"][0].to_dict(as_series=False) == columns
    assert decode("series", payloads.encode({"value": [1, 2]}))["value"].tolist() == [1, 2]


def test_a_model_of_pydantic_holds_a_table() -> None:
    made = decode("model", payloads.encode({"value": Model(frame=FRAME)}))["value"]
    assert made.frame.to_csv() == FRAME.to_csv()


def test_an_image_is_opened_only_for_who_asks_for_one() -> None:
    image = PIL.Image.new("L", (3, 2), 7)
    assert decode("image", payloads.encode({"value": image}))["value"].size == (3, 2)
    with pytest.raises(InvalidArguments, match="argument `value`: Expected the bytes of an image file"):
        decode("image", payloads.encode({"value": b"no image"}))


def damaged() -> Iterator[bytes]:
    whole = bytes(payloads.encode(FRAME).attachments[0].data)
    yield b""
    yield b"no stream"
    yield whole[: len(whole) // 2]
    for position in range(8, len(whole), max(1, len(whole) // 60)):
        yield whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]


@pytest.mark.parametrize("name", ["pandas", "polars", "arrow"])
def test_a_damaged_stream_is_a_table_or_refused_and_no_other_error(name: str) -> None:
    refused = 0
    for data in damaged():
        sent = Payload(
            b'{"value":[{"$attachment":0}]}' if name == "polars" else b'{"value":{"$attachment":0}}',
            attachments=(Attachment(ARROW, data, "pandas.DataFrame"),),
        )
        try:
            decode(name, sent)
        except InvalidArguments:
            refused += 1
    assert refused > 3


@pytest.mark.parametrize("value", [3, "text", [1], True], ids=str)
def test_what_is_no_table_is_refused_with_what_would_be_one(value: Any) -> None:
    with pytest.raises(InvalidArguments, match="argument `value`: "):
        decode("arrow", payloads.encode({"value": value}))


class Odd: ...


def test_a_column_that_arrow_has_no_type_for_is_named_with_its_remedy() -> None:
    encoded = payloads.encode({"fine": 1, "frame": pandas.DataFrame({"a": [1, 2], "odd": [Odd(), {1, 2}]})})
    (warning,) = encoded.warnings
    assert warning.startswith("$.frame is a pandas.")
    assert "odd" in warning
    assert warning.endswith("convert that column, as with .astype(str)")
    assert payloads.decode(encoded)["fine"] == 1


def test_a_lazy_frame_says_that_it_is_to_be_collected() -> None:
    (warning,) = payloads.encode(POLARS.lazy()).warnings
    assert warning.endswith("call its .collect() first")


# ---- where a library is missing


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_the_author_without_pyarrow_is_told_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyarrow")
    (warning,) = payloads.encode(FRAME).warnings
    assert warning.endswith("install pyarrow beside pandas, or return its .to_dict('records')")
    assert payloads.encode(POLARS).warnings == ()


def test_a_caller_without_pandas_gets_the_next_kind_that_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = payloads.encode(FRAME)
    without(monkeypatch, "pandas")
    assert type(payloads.decode(encoded)) is pyarrow.Table
    without(monkeypatch, "pyarrow")
    assert type(payloads.decode(encoded)) is polars.DataFrame
    without(monkeypatch, "polars")
    with pytest.warns(
        PayloadWarning, match=r"a table \(pandas.DataFrame\) is the bytes of an Arrow stream here: pip install pyarrow"
    ) as seen:
        assert payloads.decode(encoded) == bytes(encoded.attachments[0].data)
    assert [each.filename for each in seen] == [__file__]


def test_a_tool_without_the_library_that_it_asks_for_refuses_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyarrow")
    with pytest.raises(
        InvalidArguments, match=r"argument `value`: an Arrow stream can't be read as pandas.DataFrame here: pip install pyarrow"
    ):
        decode("pandas", payloads.encode({"value": POLARS}))


def test_nothing_imports_a_library_that_nobody_has_imported() -> None:
    program = (
        "import sys, json, snakepit.client; from snakepit._values import payloads, foreign, tables; from snakepit.author import tools\n"
        "payloads.decode(payloads.encode({'a': [1, b'x', {1, 2}, 1j, object()]}))\n"
        "print(json.dumps([n for n in ('pandas', 'pyarrow', 'polars', 'numpy', 'torch', 'PIL', 'pydantic') if n in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert json.loads(found.stdout) == []


def test_a_tensor_that_is_no_array_says_what_to_do() -> None:
    class Sparse(Tensor):
        def numpy(self) -> Any:
            raise RuntimeError("can't convert Sparse layout tensor to numpy")

    (warning,) = payloads.encode(Sparse(None)).warnings
    assert warning.endswith("return what can, e.g. its .to_dense()")


def test_no_warning_comes_of_what_is_carried() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for row in FOREIGN.values():
            payloads.decode(payloads.encode(row.value))
