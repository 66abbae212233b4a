"""Values as JSON and YAML have them, for programs: fields of ours are camelCase, as the CRD's; what is a user's stays as it is. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml


def plain(value: Any) -> Any:
    """Objects, lists, text, numbers and null; bytes as base64."""
    if isinstance(value, msgspec.Struct):
        return {camel(name): plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return msgspec.to_builtins(value, enc_hook=_readable)


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
    """Arrays and the like, which tools may answer with."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
