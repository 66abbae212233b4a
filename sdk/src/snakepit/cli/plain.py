"""Values as JSON and YAML have them, for programs: fields of ours are camelCase, as the CRD's; what is a user's stays as it is. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

_AS_LISTS = (("tolist", ()), ("to_pylist", ()), ("to_dicts", ()), ("to_list", ()), ("to_dict", ("records",)))
"""What numpy, pyarrow, polars (frames, series) and pandas call it."""


def plain(value: Any) -> Any:
    """Objects, lists, text, numbers and null; bytes as base64."""
    if isinstance(value, msgspec.Struct):
        return {camel(name): plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return msgspec.to_builtins(value, enc_hook=_readable, str_keys=True)


def camel(name: str) -> str:
    """`age_seconds` as `ageSeconds`."""
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)


def as_json(value: Any, *, pretty: bool = False) -> str:
    """One line, or several where that reads better."""
    text = msgspec.json.encode(plain(value))
    return (msgspec.json.format(text, indent=2) if pretty else text).decode()


def as_yaml(value: Any, *, document: bool = False) -> str:
    """With its newline. `document`: it begins with ---, as one of several."""
    text = yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, explicit_start=document, width=2**31)
    return text.removesuffix("...\n")


def _readable(value: Any) -> Any:
    """Arrays as lists and tables as lists of their rows: whatever tools may answer with, of libraries that this program doesn't need."""
    for method, words in _AS_LISTS:
        if hasattr(value, method):
            return getattr(value, method)(*words)
    return str(value)
