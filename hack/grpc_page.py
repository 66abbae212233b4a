"""docs/grpc.md, for hack/docs.py: each service, message and enumeration of proto/snakepit/v1 that callers use, with its comments."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
FILES = ("router", "session", "tool", "pool", "call", "access", "replica", "common")
"""In the order of the page; fleet.proto and link.proto are between our own programs."""
PACKAGE = ".snakepit.v1."
PAGE = """# gRPC

Generated from `proto/snakepit/v1/` by `make docs`; don't edit. This is what programs without our SDK call, at port
7800. [Any language](caller.md#any-language-plain-grpc) says how. [Programs in Go and Node](clients.md) are there to
copy. [Errors](errors.md) are the same everywhere.

Fields are added, and never renamed or renumbered. A client generated from an older contract goes on working.
`fleet.proto` and `link.proto` are not here: they are between our own programs.
"""
_MESSAGES, _ENUMS, _SERVICES, _FIELDS, _NESTED = 4, 5, 6, 2, 3
"""Numbers of the fields of a FileDescriptorProto, ServiceDescriptorProto and DescriptorProto, of which the paths to comments are made."""
Field = descriptor_pb2.FieldDescriptorProto


def page() -> str:
    files = {Path(each.name).stem: each for each in _described().file}
    return "\n".join([PAGE, *(line for name in FILES for line in _file(files[name]))]).rstrip() + "\n"


def _described() -> descriptor_pb2.FileDescriptorSet:
    with tempfile.NamedTemporaryFile() as out:
        include = Path(protoc.__file__).parent / "_proto"
        options = [f"-I{ROOT / 'proto'}", f"-I{include}", f"--descriptor_set_out={out.name}", "--include_source_info"]
        if protoc.main(["protoc", *options, *(f"snakepit/v1/{name}.proto" for name in FILES)]):
            raise SystemExit("protoc failed")
        return descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())


def _file(file: Any) -> Iterator[str]:
    said = {tuple(each.path): " ".join(each.leading_comments.split()) for each in file.source_code_info.location}
    for at, service in enumerate(file.service):
        yield from _service(service, said, (_SERVICES, at))
    if not file.service:
        yield f"## In several of them: `{Path(file.name).name}`\n"
    for at, enum in enumerate(file.enum_type):
        yield from _enum(enum, said, (_ENUMS, at))
    for at, message in enumerate(file.message_type):
        yield from _message(message, said, (_MESSAGES, at))


def _service(service: Any, said: Mapping[tuple[int, ...], str], path: tuple[int, ...]) -> Iterator[str]:
    yield f"## {service.name}\n\n| RPC | takes | gives | |\n|---|---|---|---|"
    for at, rpc in enumerate(service.method):
        gives = ("a stream of " if rpc.server_streaming else "") + _link(rpc.output_type)
        yield f"| `{rpc.name}` | {_link(rpc.input_type)} | {gives} | {_cell(said.get((*path, 2, at), ''))} |"
    yield ""


def _message(message: Any, said: Mapping[tuple[int, ...], str], path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {message.name}\n"
    yield from filter(None, [f"{text}\n" if (text := _cell(said.get(path, ""))) else ""])
    if not message.field:
        yield "It has no fields.\n"
        return
    yield "| field | type | |\n|---|---|---|"
    maps = {each.name: each for each in message.nested_type if each.options.map_entry}
    for at, field in enumerate(message.field):
        one_of = f"one of `{message.oneof_decl[field.oneof_index].name}`." if field.HasField("oneof_index") else ""
        text = " ".join(filter(None, [one_of, _cell(said.get((*path, _FIELDS, at), ""))]))
        yield f"| `{field.name}` | {_type(field, maps)} | {text} |"
    yield ""
    for at, inner in enumerate(message.nested_type):
        if not inner.options.map_entry:
            yield from _message(inner, said, (*path, _NESTED, at))


def _enum(enum: Any, said: Mapping[tuple[int, ...], str], path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {enum.name}\n\n| value | |\n|---|---|"
    yield from (f"| `{value.name}` | {_cell(said.get((*path, 2, at), ''))} |" for at, value in enumerate(enum.value))
    yield ""


def _type(field: Any, maps: Mapping[str, Any]) -> str:
    entry = maps.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        return f"map of {_type(entry.field[0], {})} to {_type(entry.field[1], {})}"
    own = _link(field.type_name) if field.type_name else f"`{Field.Type.Name(field.type).removeprefix('TYPE_').lower()}`"
    return f"list of {own}" if field.label == Field.LABEL_REPEATED else own


def _link(name: str) -> str:
    if not name.startswith(PACKAGE):
        return f"`{name.lstrip('.')}`"
    short = name.removeprefix(PACKAGE)
    return f"[{short}](#{short.rpartition('.')[2].lower()})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
