"""A pool's catalogue as Python classes for `pool.typed(...)`: text that mypy and pyright read. Pure."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from snakepit.client.views import ToolInfo

_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_REF = "#/$defs/"
_IMPORTED = ("Any", "AsyncIterator", "Iterator", "Literal", "NotRequired", "TypedDict", "OMITTED")


def render(pool: str, tools: Iterable[ToolInfo]) -> str:
    """Write a module with a class for `snakepit.Client`, and one for `snakepit.sync.Client`."""
    title = _camel(pool.rpartition("/")[2])
    records = _Records({title, f"Sync{title}", *_IMPORTED})
    methods = [_Method(tool, records) for tool in tools]
    waiting, blocking = [each.text(asynchronous=True) for each in methods], [each.text(asynchronous=False) for each in methods]
    body = [
        _class(title, f"The tools of pool {pool}, for snakepit.Client.", waiting),
        _class(f"Sync{title}", f"The tools of pool {pool}, for snakepit.sync.Client.", blocking),
    ]
    head = f'"""Typed calls of pool {pool}: `client.pool({pool!r}).typed({title})`. Written by `snakepit tools {pool} --stubs`."""\n'
    imports = [
        "from __future__ import annotations\n",
        "from collections.abc import AsyncIterator, Iterator",
        "from typing import Any, Literal, NotRequired, TypedDict\n",
        "from snakepit import OMITTED, tool",
    ]
    return "\n".join([head, *imports, *(f"\n\n{each}" for each in (*records.texts, *body))]) + "\n"


def _class(name: str, text: str, methods: Sequence[str]) -> str:
    return f'class {name}:\n    """{text}"""\n' + "".join(f"\n{textwrap.indent(each, '    ')}\n" for each in methods).rstrip()


class _Records:
    """Objects of the schemas as TypedDicts, each under a name of its own."""

    def __init__(self, taken: set[str]) -> None:
        self.texts: list[str] = []
        self._taken = taken
        self._names: dict[str, str] = {}

    def name(self, wanted: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
        identity = f"{wanted} {schema} {root.get('$defs')}"
        if identity in self._names:
            return self._names[identity]
        name, number = _camel(wanted), 1
        while name in self._taken:
            number += 1
            name = f"{_camel(wanted)}{number}"
        self._taken.add(name)
        self._names[identity] = name  # before its fields: a record may hold itself
        required = schema.get("required", ())
        fields = {field: self.type(f"{name}_{field}", each, root) for field, each in schema["properties"].items()}
        forms = {field: kind if field in required else f"NotRequired[{kind}]" for field, kind in fields.items()}
        shown = ", ".join(f"{field!r}: {form!r}" for field, form in forms.items())
        self.texts.append(f"{name} = TypedDict({name!r}, {{{shown}}})")
        return name

    def type(self, where: str, schema: Any, root: Mapping[str, Any], depth: int = 0) -> str:
        """Return the annotation of a schema; it is Any where Python has none."""
        if not isinstance(schema, Mapping) or depth > 16:
            return "Any"
        if isinstance(ref := schema.get("$ref"), str):
            name = ref.removeprefix(_REF)
            return self.type(name, root.get("$defs", {}).get(name), root, depth + 1)
        if "const" in schema or "enum" in schema:
            values = schema.get("enum", [schema.get("const")])
            fits = values and all(isinstance(each, str | int | bool | None) for each in values)
            return f"Literal[{', '.join(map(repr, values))}]" if fits else "Any"
        if isinstance(parts := schema.get("anyOf") or schema.get("oneOf"), list):
            return " | ".join(dict.fromkeys(self.type(where, each, root, depth + 1) for each in parts))
        if schema.get("contentEncoding") == "base64" or schema.get("format") in ("binary", "base64"):
            return "bytes"
        if schema.get("type") == "array":
            items = "Any" if "prefixItems" in schema else self.type(where, schema.get("items"), root, depth + 1)
            return f"list[{items}]"
        if schema.get("type") == "object":
            return self._object(where, schema, root, depth)
        return _SCALARS.get(str(schema.get("type")), "Any")

    def _object(self, where: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> str:
        if schema.get("properties"):
            return self.name(where, schema, root)
        return f"dict[str, {self.type(where, schema.get('additionalProperties'), root, depth + 1)}]"


class _Method:
    def __init__(self, tool: ToolInfo, records: _Records) -> None:
        self._tool = tool
        self._name = _identifier(tool.name)
        given, required = tool.input_schema.get("properties", {}), tool.input_schema.get("required", ())
        types = {name: records.type(f"{tool.name}_{name}", schema, tool.input_schema) for name, schema in given.items()}
        parameters = [f"{name}: {types[name]}{'' if name in required else ' = OMITTED'}" for name in types]
        self._parameters = ", ".join(["self", *(["*", *parameters] if parameters else [])])
        self._result = records.type(f"{tool.name}_result", tool.output_schema, tool.output_schema) if tool.output_schema else "Any"

    def text(self, *, asynchronous: bool) -> str:
        prefix = "async " if asynchronous and not self._tool.streaming else ""
        result = f"{'Async' if asynchronous else ''}Iterator[{self._result}]" if self._tool.streaming else self._result
        lines = [f"{prefix}def {self._name}({self._parameters}) -> {result}:"]
        if self._name != self._tool.name:
            lines.insert(0, f"@tool(name={self._tool.name!r})")
        lines += [f"    {_docstring(self._tool.description)}"] if self._tool.description else []
        return "\n".join([*lines, "    raise NotImplementedError"])


def _docstring(text: str) -> str:
    first, *rest = text.replace("\\", "\\\\").replace('"', '\\"').splitlines()
    return '"""' + "\n".join([first, *(f"    {each}".rstrip() for each in rest)]) + ("\n    " if rest else "") + '"""'


def _identifier(name: str) -> str:
    made = re.sub(r"\W", "_", name)
    return f"tool_{made}" if not made[:1].isalpha() else f"{made}_" if keyword.iskeyword(made) else made


def _camel(name: str) -> str:
    made = "".join(each[:1].upper() + each[1:] for each in re.split(r"[^A-Za-z0-9]+", name) if each)
    return made if made[:1].isalpha() else f"Pool{made}"
