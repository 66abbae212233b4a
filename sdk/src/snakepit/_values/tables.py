"""Tables as streams of Arrow's IPC format, and back. Pure; pandas, polars and pyarrow are imported only when a table is there.

Nothing is unpickled. What comes in is validated before anybody looks at it.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from snakepit._ipc.frames import Attachment
from snakepit._values.buffers import ARROW
from snakepit._values.payload_warnings import warn

FRAME, SERIES = "pandas.DataFrame", "pandas.Series"
POLARS_FRAME, POLARS_SERIES = "polars.DataFrame", "polars.Series"
TABLE = "pyarrow.Table"

_NAMELESS = b"snakepit.nameless"
"""In the metadata of the only column of a series that has no name, as every column of a frame has one."""

_SAFE_PYARROW = 15
"""Older ones unpickle what a column's extension type brings along."""


class NotCarried(Exception):
    """A value that could travel, if what the sentence says were done."""


# ---- out


def of_pandas(value: Any) -> Attachment:
    """A frame or a series, with its index. Raises NotCarried."""
    arrow = _pyarrow()
    if arrow is None:
        raise NotCarried("install pyarrow beside pandas, or return its .to_dict('records')")
    is_series = type(value).__name__ == "Series" or not hasattr(value, "columns")
    try:
        table = arrow.Table.from_pandas(value.to_frame() if is_series else value)
    except Exception as error:  # of Arrow's, or of what a column's own type does
        raise NotCarried(f"Arrow has no type for it ({_first_line(error)}): convert that column, as with .astype(str)") from error
    if is_series and value.name is None:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _NAMELESS: b""})
    return _attachment(_written(arrow, table), SERIES if is_series else FRAME, value.shape)


def of_polars(value: Any) -> Attachment:
    """A frame or a series. Raises NotCarried."""
    polars = sys.modules["polars"]
    is_series = isinstance(value, polars.Series)
    frame, stream = value.to_frame() if is_series else value, io.BytesIO()
    try:
        # Of the forms of text that polars knows, the one that every reader of Arrow has.
        frame.write_ipc_stream(stream, compat_level=polars.CompatLevel.oldest())
    except Exception as error:
        raise NotCarried(f"Arrow has no type for it ({_first_line(error)}): convert that column, as with .cast(pl.String)") from error
    return _attachment(stream.getbuffer(), POLARS_SERIES if is_series else POLARS_FRAME, value.shape)


def of_arrow(value: Any) -> Attachment:
    """A table or a record batch."""
    arrow = sys.modules["pyarrow"]
    table = value if isinstance(value, arrow.Table) else arrow.Table.from_batches([value])
    return _attachment(_written(arrow, table), TABLE, table.shape)


def _written(arrow: Any, table: Any) -> memoryview:
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue()).cast("B")


def _attachment(data: memoryview, kind: str, shape: tuple[int, ...]) -> Attachment:
    return Attachment(ARROW, cast(bytes, data), kind, tuple(shape))


# ---- in


def restored(attachment: Attachment) -> Any:
    """What it was where it was written, or the nearest that can be made here; else its bytes, and a PayloadWarning.

    Raises ValueError where it is no such stream.
    """
    for kind in dict.fromkeys((attachment.dtype, TABLE, POLARS_FRAME)):
        if kind in _READERS and (made := _READERS[kind](attachment.data)) is not None:
            return made
    warn([f"a table ({attachment.dtype or 'Arrow'}) is the bytes of an Arrow stream here: pip install pyarrow"])
    return bytes(attachment.data)


def read(data: Any, kind: str) -> Any:
    """As the kind that an annotation asks for. Raises ValueError."""
    made = _READERS[kind](data)
    if made is None:
        raise ValueError(f"an Arrow stream can't be read as {kind} here: pip install pyarrow")
    return made


def settled(value: Any) -> Any:
    """Tables that nobody has asked for as another thing, restored."""
    if isinstance(value, Attachment):
        return restored(value)
    if isinstance(value, list) and any(isinstance(each, list | dict | Attachment) for each in value):
        return [settled(each) for each in value]
    return {key: settled(each) for key, each in value.items()} if isinstance(value, dict) else value


def made(kind: Any, value: Any) -> Any:
    """Of a list of records, or an object of columns. Raises ValueError."""
    if (kind.__module__.partition(".")[0], kind.__qualname__) == ("pyarrow", "Table"):
        make = kind.from_pylist if isinstance(value, list) else kind.from_pydict
    else:
        make = kind
    try:
        return make(value)
    except Exception as error:
        raise ValueError(f"no {kind.__name__} can be made of it: {_first_line(error)}") from error


def _table(data: Any) -> Any:
    """Of pyarrow; None: it isn't there."""
    arrow = _pyarrow()
    if arrow is None:
        return None
    try:
        with arrow.ipc.open_stream(arrow.py_buffer(data)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (OSError, ValueError, NotImplementedError) as error:  # Arrow's own are of these
        raise ValueError(f"it is no Arrow stream: {_first_line(error)}") from error
    return table


def _pandas(data: Any, *, is_series: bool) -> Any:
    table = _table(data) if _module("pandas") is not None else None
    if table is None:
        return None
    try:
        frame = table.to_pandas()
    except Exception as error:  # of pandas' own metadata, which is the sender's
        raise ValueError(f"pandas can't read it: {_first_line(error)}") from error
    if not is_series:
        return frame
    _check_one_column(frame)
    column = frame.iloc[:, 0]
    return column.rename(None) if _NAMELESS in (table.schema.metadata or {}) else column


def _polars(data: Any, *, is_series: bool) -> Any:
    polars = _module("polars")
    if polars is None:
        return None
    try:
        table = _table(data)
        frame = polars.read_ipc_stream(io.BytesIO(data)) if table is None else polars.from_arrow(table)
    except BaseException as error:  # a panic of Rust's is no Exception
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(f"polars can't read it: {_first_line(error)}") from error
        raise
    if not is_series:
        return frame
    _check_one_column(frame)
    return frame.to_series(0)


def _check_one_column(frame: Any) -> None:
    if frame.shape[1] != 1:
        raise ValueError(f"a series has one column, and this table has {frame.shape[1]}")


_READERS: dict[str, Callable[[Any], Any]] = {
    FRAME: partial(_pandas, is_series=False),
    SERIES: partial(_pandas, is_series=True),
    POLARS_FRAME: partial(_polars, is_series=False),
    POLARS_SERIES: partial(_polars, is_series=True),
    TABLE: _table,
}


def _pyarrow() -> Any:
    arrow = _module("pyarrow")
    return arrow if arrow is not None and int(arrow.__version__.partition(".")[0]) >= _SAFE_PYARROW else None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
