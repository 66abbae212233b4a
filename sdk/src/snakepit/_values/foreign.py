"""Values of types that neither JSON nor msgspec knows, as values that they know: of the standard library, and of libraries.

Types are known by their names, so nothing is imported for a value that isn't there. Pure.
"""

from __future__ import annotations

import contextlib
import datetime
import io
from collections.abc import Callable, Mapping, Sequence, Set, ValuesView
from typing import Any

from snakepit._ipc.frames import Attachment
from snakepit._values import tables
from snakepit._values.buffers import from_array, from_buffer

NotCarried = tables.NotCarried

MOST_OF_A_RANGE = 1_000_000

REMEDY = "turn it into text, numbers, a list, a dict or bytes"


def converted(value: Any) -> Any:
    """A value that can be written, or an Attachment. Raises NotCarried with what to do instead."""
    for kind in type(value).__mro__:
        make = _MAKERS.get((kind.__module__.partition(".")[0], kind.__qualname__))
        if make is not None:
            return make(value)
    with contextlib.suppress(TypeError):  # it has no buffer
        return from_buffer(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | Set | ValuesView):
        return list(value)
    raise NotCarried(REMEDY)


def scalar(value: Any) -> Any:
    """Of numpy's scalars: `item()` gives counts of nanoseconds for moments, and long doubles as they are."""
    kind = value.dtype.kind
    if kind in "mM":
        if str(value) == "NaT":
            return None
        return str(value) if kind == "M" else value.astype("timedelta64[us]").item()
    item = value.item()
    return float(item) if type(item) is type(value) else item


def _datetime(value: datetime.datetime) -> Any:
    if value != value:  # pandas' NaT
        return None
    if getattr(value, "nanosecond", 0):
        return value.isoformat()
    return datetime.datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold
    )


def _time(value: datetime.time) -> datetime.time:
    return datetime.time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold)


def _range(value: range) -> list[int]:
    if len(value) > MOST_OF_A_RANGE:
        raise NotCarried(f"a range of more than {MOST_OF_A_RANGE} numbers isn't written out: return its start, stop and step")
    return list(value)


def _tensor(value: Any) -> Attachment:
    try:
        there = value.detach().cpu()
        there = there.resolve_conj().resolve_neg() if there.is_complex() else there
        try:
            array = there.numpy()
        except TypeError:  # bfloat16 and its kin, which numpy doesn't have
            array = there.float().numpy()
        return from_array(array)
    except Exception as error:  # sparse, quantized, on a device that has gone; or numpy isn't there
        raise NotCarried(f"it can't be a numpy array ({str(error).splitlines()[0]}): return what can, e.g. its .to_dense()") from error


def _image(value: Any) -> Attachment:
    """The bytes of a file without loss: PNG, or TIFF for what PNG doesn't have."""
    sink = io.BytesIO()
    if value.mode in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"):
        value.save(sink, "PNG", compress_level=1)
        return Attachment("image/png", sink.getvalue())
    try:
        value.save(sink, "TIFF")
    except Exception as error:
        raise NotCarried(f"an image of mode {value.mode} has no file format here: .convert('RGBA') it") from error
    return Attachment("image/tiff", sink.getvalue())


def _remedy(sentence: str) -> Callable[[Any], Any]:
    def refuse(value: Any) -> Any:
        raise NotCarried(sentence)

    return refuse


_ADDRESSES = ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network")
_MAKERS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("pandas", "NaTType"): lambda value: None,
    ("pandas", "NAType"): lambda value: None,
    ("pandas", "DataFrame"): tables.of_pandas,
    ("pandas", "Series"): tables.of_pandas,
    ("pandas", "Index"): lambda value: value.tolist(),
    ("pandas", "ExtensionArray"): lambda value: value.tolist(),
    ("pandas", "Period"): str,
    ("pandas", "Interval"): str,
    ("polars", "DataFrame"): tables.of_polars,
    ("polars", "Series"): tables.of_polars,
    ("polars", "LazyFrame"): _remedy("call its .collect() first"),
    ("pyarrow", "Table"): tables.of_arrow,
    ("pyarrow", "RecordBatch"): tables.of_arrow,
    ("pyarrow", "Array"): lambda value: value.to_pylist(),
    ("pyarrow", "ChunkedArray"): lambda value: value.to_pylist(),
    ("pyarrow", "Scalar"): lambda value: value.as_py(),
    ("torch", "Tensor"): _tensor,
    ("PIL", "Image"): _image,
    ("sqlite3", "Row"): list,
    ("datetime", "datetime"): _datetime,
    ("datetime", "date"): lambda value: datetime.date(value.year, value.month, value.day),
    ("datetime", "time"): _time,
    ("datetime", "timedelta"): lambda value: datetime.timedelta(value.days, value.seconds, value.microseconds),
    ("fractions", "Fraction"): str,
    ("builtins", "complex"): str,
    ("builtins", "range"): _range,
    ("builtins", "generator"): _remedy("return a list of it, or let the tool yield its items, which makes it a stream"),
    ("builtins", "coroutine"): _remedy("await it first"),
    ("pathlib", "PurePath"): str,
    **{("ipaddress", name): str for name in _ADDRESSES},
}
"""By the top package and the name of a class or of one that it derives from."""
