"""Whatever has a buffer as an attachment, and back, without a copy where Python allows one. Pure; numpy is imported only for an array.

Inside an attachment nothing is converted: dtype, shape, NaN and byte order stay.
"""

from __future__ import annotations

import re
import struct
import sys
from typing import Any, cast

from snakepit._ipc.frames import Attachment
from snakepit._values.strings import quoted

OCTETS = "application/octet-stream"
NDARRAY = "application/x-ndarray"
ARROW = "application/vnd.apache.arrow.stream"

_DTYPE = re.compile(r"[<>|=]?[A-Za-z?]\w{0,20}(\[\w{1,10}\])?", re.ASCII)
"""What numpy would read as anything else, by a parser of Python, is not given to it."""

_ORDERS = {"@": "", "=": "", "<": "<", ">": ">", "!": ">"}
_NATIVE = "<" if sys.byteorder == "little" else ">"
_KINDS = {"?": "b", **dict.fromkeys("bhilqn", "i"), **dict.fromkeys("BHILQN", "u"), **dict.fromkeys("efd", "f")}
_FORMATS: dict[str, Any] = {f"{_KINDS[each]}{struct.calcsize(each)}": each for each in "?bhiqBHIQefd"}


def from_buffer(value: Any) -> Attachment:
    """bytes, bytearray, memoryview, mmap, array.array, ctypes arrays. TypeError: no buffer, or elements that have no dtype.

    The attachment looks at the value's own memory: it is meant to be written at once.
    """
    if type(value) is bytes:
        return Attachment(OCTETS, value)
    view = memoryview(value)
    if view.ndim == 1 and view.format in ("B", "c"):
        return Attachment(OCTETS, _flat(view))
    return Attachment(NDARRAY, _flat(view), _dtype(view), tuple(view.shape or ()))


def from_array(array: Any) -> Attachment:
    """A numpy array whose elements are no Python objects."""
    import numpy

    if not array.size:
        return Attachment(NDARRAY, b"", array.dtype.str, tuple(array.shape))
    packed = numpy.ascontiguousarray(array).reshape(-1)
    octets: Any = packed.view(numpy.uint8)
    return Attachment(NDARRAY, cast(bytes, memoryview(octets)), array.dtype.str, tuple(array.shape))


def restored(attachment: Attachment) -> Any:
    """bytes, a table, or an array: of numpy where that is there, else a memoryview with its shape. Raises ValueError, TypeError."""
    if attachment.content_type == ARROW:
        from snakepit._values import tables

        return tables.restored(attachment)
    if attachment.content_type != NDARRAY:
        return bytes(attachment.data)
    try:
        import numpy
    except ImportError:
        return _view(attachment)
    if _DTYPE.fullmatch(attachment.dtype) is None:
        raise ValueError(f"{quoted(attachment.dtype)} is no dtype of one kind of number or text, such as <f8")
    return numpy.frombuffer(attachment.data, dtype=numpy.dtype(attachment.dtype)).reshape(attachment.shape)


def _flat(view: memoryview) -> bytes:
    try:
        return cast(bytes, view.cast("B"))
    except TypeError:  # strided, empty, or of a format that only its owner knows
        return view.tobytes()


def _dtype(view: memoryview) -> str:
    order, kind = (view.format[:1], view.format[1:]) if view.format[:1] in _ORDERS else ("@", view.format)
    if kind not in _KINDS:
        raise TypeError(f"elements of format {view.format!r} have no dtype")
    return f"{'|' if view.itemsize == 1 else _ORDERS[order] or _NATIVE}{_KINDS[kind]}{view.itemsize}"


def _view(attachment: Attachment) -> Any:
    """Without numpy; what a memoryview can't describe stays an Attachment."""
    format_ = _FORMATS.get(attachment.dtype.lstrip(f"|={_NATIVE}"))
    if format_ is None or not attachment.data:
        return attachment
    return memoryview(attachment.data).cast("B").cast(format_, attachment.shape)
