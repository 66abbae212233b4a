"""An argument as the type of its annotation, where msgspec doesn't know that type. Pure; a library is imported only for its own types."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from typing import Any

from snakepit._ipc.frames import Attachment
from snakepit._values import pydantic_types

Make = Callable[[Any, Any], Any]
"""Of the annotation and the value. Raises ValueError or TypeError, with a sentence."""


def maker(kind: Any) -> Make | None:
    """How an instance of the annotation is made; None: no payload has one."""
    kind = typing.get_origin(kind) or kind
    if not isinstance(kind, type):
        return None
    if pydantic_types.adapter_of(kind) is not None or callable(getattr(kind, "model_validate", None)):
        return _validated
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, numpy.generic):
        return _number
    return _MAKERS.get((kind.__module__.partition(".")[0], kind.__qualname__))


def decode_hook(kind: Any, value: Any) -> Any:
    """For msgspec. An instance of the annotation passes as it is: an array that has come as one, or what was pickled."""
    origin = typing.get_origin(kind) or kind
    if isinstance(value, origin) and pydantic_types.adapter_of(origin) is None:
        return value
    make = maker(origin)
    if make is None:
        raise _unexpected(origin, value)
    return make(origin, value)


def _unexpected(kind: type[Any], value: Any) -> TypeError:
    return TypeError(f"Expected `{kind.__name__}`, got `{_name(value)}`")


def _name(value: Any) -> str:
    return "object" if isinstance(value, dict) else "array" if isinstance(value, list) else type(value).__name__


def _validated(kind: Any, value: Any) -> Any:
    from snakepit._values import tables

    adapter = pydantic_types.adapter_of(kind)
    return pydantic_types.validated(kind.model_validate if adapter is None else adapter.validate_python, tables.settled(value))


def _made_of(*accepted: type[Any]) -> Make:
    def make(kind: Any, value: Any) -> Any:
        if not isinstance(value, accepted):
            raise _unexpected(kind, value)
        return kind(value)

    return make


_number, _of_text, _of_text_or_number = _made_of(int, float), _made_of(str), _made_of(str, int, float)


def _complex(kind: Any, value: Any) -> Any:
    return kind(*value) if isinstance(value, list) and len(value) == 2 else _of_text_or_number(kind, value)


def _array(kind: Any, value: Any) -> Any:
    import numpy

    array = numpy.asarray(value) if isinstance(value, list | int | float) else None
    if array is None or array.dtype.kind in "OUS":
        raise TypeError(f"Expected an array of numbers, got `{_name(value)}`")
    return array


def _tensor(kind: Any, value: Any) -> Any:
    import torch  # type: ignore[import-not-found,unused-ignore]

    if isinstance(value, list | int | float):
        return torch.tensor(value)
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray):
        raise _unexpected(kind, value)
    return torch.from_numpy(value.copy())  # what has arrived is read-only, which torch doesn't have


def _image(kind: Any, value: Any) -> Any:
    import io

    import PIL.Image

    if not isinstance(value, bytes):
        raise TypeError(f"Expected the bytes of an image file, got `{_name(value)}`")
    try:
        image = PIL.Image.open(io.BytesIO(value))
        image.load()
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"Expected the bytes of an image file: {error}") from error
    return image


def _table(kind: Any, value: Any) -> Any:
    from snakepit._values import tables

    if isinstance(value, Attachment | bytes):
        return tables.read(value.data if isinstance(value, Attachment) else value, _full_name(kind))
    if not isinstance(value, list | dict):
        raise TypeError(f"Expected a table (an Arrow stream, a list of records, or an object of columns), got `{_name(value)}`")
    return tables.made(kind, tables.settled(value))


def _full_name(kind: type[Any]) -> str:
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


_PATHS = ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
_ADDRESSES = ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface")
_TABLES = (("pandas", "DataFrame"), ("pandas", "Series"), ("polars", "DataFrame"), ("polars", "Series"), ("pyarrow", "Table"))
_MAKERS: dict[tuple[str, str], Make] = {
    **{("pathlib", name): _of_text for name in _PATHS},
    **{("ipaddress", name): _of_text for name in _ADDRESSES},
    ("fractions", "Fraction"): _of_text,
    ("pandas", "Timestamp"): _of_text,
    ("pandas", "Timedelta"): _of_text,
    ("builtins", "complex"): _complex,
    ("numpy", "ndarray"): _array,
    ("torch", "Tensor"): _tensor,
    ("PIL", "Image"): _image,
    **dict.fromkeys(_TABLES, _table),
}
"""By the top package and the name of the class: some libraries have moved theirs between modules."""


def is_table(kind: Any) -> bool:
    kind = typing.get_origin(kind) or kind
    return isinstance(kind, type) and maker(kind) is _table


def schema_of(kind: Any) -> dict[str, Any]:
    """What the catalogue says of a type that msgspec doesn't know. It is never empty, which would count as no schema."""
    kind = typing.get_origin(kind) or kind
    make = maker(kind)
    if make is _of_text:
        return {"type": "string", "description": _full_name(kind)}
    if make is _number:
        return {"type": "number", "description": _full_name(kind)}
    if make is _table:
        return {"description": f"{_full_name(kind)}: an Arrow stream, a list of records, or an object of columns"}
    return {"description": _full_name(kind)}
