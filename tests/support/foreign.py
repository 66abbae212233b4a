"""Values of other libraries, each of which travels by its library's own format."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy
import pandas
import PIL.Image
import polars
import pyarrow

from snakepit._values import payloads

from .rows import PIXELS, UTC


class Tensor:
    """As torch's, which is too large to be among what tests need: a class of that name in that module."""

    def __init__(self, array: Any, *, numpy_has_it: bool = True) -> None:
        self._array, self._numpy_has_it = array, numpy_has_it

    def detach(self) -> Tensor:
        return self

    cpu = detach

    def is_complex(self) -> bool:
        return False

    def float(self) -> Tensor:
        return Tensor(self._array)

    def numpy(self) -> Any:
        if not self._numpy_has_it:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._array


Tensor.__module__ = "torch"


class Foreign(NamedTuple):
    """Of a library. `back`: the type that arrives; `read`: what of it has to be the same."""

    kind: str
    value: Any
    content_type: str
    dtype: str
    back: type[Any]
    read: Callable[[Any], Any] = repr


ARROW = "application/vnd.apache.arrow.stream"
FRAME = pandas.DataFrame(
    {
        "n": [1, 2],
        "x": [0.5, math.nan],
        "t": ["a", None],
        "when": pandas.to_datetime(["2026-01-02T03:04:05.000000007Z", None]),
        "kind": pandas.Categorical(["u", "v"]),
    },
    index=pandas.Index(["one", "two"], name="which"),
)


TABLE = pyarrow.table({"n": [1, None], "nested": [{"a": [1]}, None], "text": ["ä", ""]})
POLARS = polars.DataFrame({"n": [1, None], "t": ["a", "ä" * 40], "when": [UTC, None]})


def octets(array: Any) -> bytes:
    return numpy.asarray(array).tobytes()


def opened(image: Any) -> PIL.Image.Image:
    return image if isinstance(image, PIL.Image.Image) else PIL.Image.open(io.BytesIO(image))


FOREIGN: dict[str, Foreign] = {
    "frame of pandas": Foreign(
        "tables", FRAME, ARROW, "pandas.DataFrame", pandas.DataFrame, lambda each: (each.to_csv(), str(each.dtypes))
    ),
    "empty frame": Foreign("tables", FRAME.iloc[:0], ARROW, "pandas.DataFrame", pandas.DataFrame, lambda each: str(each.dtypes)),
    "series of pandas": Foreign("tables", FRAME["n"], ARROW, "pandas.Series", pandas.Series, lambda each: (each.to_csv(), each.name)),
    "series without a name": Foreign("tables", pandas.Series([1, 2]), ARROW, "pandas.Series", pandas.Series),
    "frame of polars": Foreign("tables", POLARS, ARROW, "polars.DataFrame", polars.DataFrame),
    "series of polars": Foreign("tables", POLARS["t"], ARROW, "polars.Series", polars.Series),
    "table of arrow": Foreign("tables", TABLE, ARROW, "pyarrow.Table", pyarrow.Table, lambda each: each.to_pylist()),
    "batch of arrow": Foreign("tables", TABLE.to_batches()[0], ARROW, "pyarrow.Table", pyarrow.Table, lambda each: each.to_pylist()),
    "tensor": Foreign(
        "tensors of torch", Tensor(PIXELS), payloads.NDARRAY, "<f4", numpy.ndarray, lambda each: numpy.asarray(each).tobytes()
    ),
    "tensor that numpy has not": Foreign(
        "tensors of torch",
        Tensor(PIXELS, numpy_has_it=False),
        payloads.NDARRAY,
        "<f4",
        numpy.ndarray,
        octets,
    ),
    "image": Foreign("images of PIL", PIL.Image.new("RGB", (2, 2), "red"), "image/png", "", bytes, lambda each: opened(each).tobytes()),
    "image that PNG has not": Foreign(
        "images of PIL", PIL.Image.new("F", (2, 2), 0.5), "image/tiff", "", bytes, lambda each: opened(each).tobytes()
    ),
}
"""Values that travel by their library's own format."""
