"""A pool's tools as MCP describes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mcp_types import Tool, ToolAnnotations

from snakepit import ToolInfo

OPEN_SESSION = "open_session"
SESSION = "session"
RESULT = "result"
"""A result that is no object stands under this name in one: clients before 2026-07-28 know nothing else."""

CONTENT = "$content"
"""`{"$content": 1}` stands in a result for the file that is the second block of its content."""

_REF = "#/$defs/"
_IN_PLACE = {
    "description": f"A file: the block of content that {CONTENT} counts, from 0; or base64 of bytes without a type.",
    "anyOf": [{"type": "object", "properties": {CONTENT: {"type": "integer"}}, "required": [CONTENT]}, {"type": "string"}],
}
_SESSION_SCHEMA = {
    "type": "string",
    "description": f"A session that {OPEN_SESSION} gave you: calls with it share state. Leave it out where nothing is to be remembered.",
}
_OPEN = Tool(
    name=OPEN_SESSION,
    title="Open a session",
    description=(
        f"Opens a session, and returns its handle. Give the handle as `{SESSION}` to the other tools, so that they remember what you did "
        "before. It is yours alone, and it ends some time after its last use."
    ),
    input_schema={"type": "object", "properties": {}, "additionalProperties": False},
    output_schema={"type": "object", "properties": {SESSION: {"type": "string"}}, "required": [SESSION]},
    annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False),
)


def described(tools: Iterable[ToolInfo], *, sessions: bool) -> list[Tool]:
    """By name. With `sessions`, each takes one, but where its author has given that name to something else; and one opens them."""
    made = [_tool(each, sessions=sessions) for each in tools]
    if sessions and all(each.name != OPEN_SESSION for each in made):
        made.append(_OPEN)
    return sorted(made, key=lambda each: each.name)


def takes_session(tool: ToolInfo) -> bool:
    """Is the argument `session` ours?"""
    return SESSION not in tool.input_schema.get("properties", {})


def is_wrapped(schema: dict[str, Any]) -> bool | None:
    """Does the result of this schema stand in an object of one field? None: it can't be said beforehand."""
    kinds = _kinds(schema, schema)
    if kinds is None or (len(kinds) > 1 and "object" in kinds):
        return None
    return "object" not in kinds


def _tool(tool: ToolInfo, *, sessions: bool) -> Tool:
    schema = {"type": "object", **tool.input_schema}
    if sessions and takes_session(tool):
        schema["properties"] = {**schema.get("properties", {}), SESSION: _SESSION_SCHEMA}
    return Tool(
        name=tool.name,
        title=tool.title or None,
        description=tool.description or tool.title or tool.name,
        input_schema=schema,
        output_schema=_output(tool),
        annotations=ToolAnnotations(
            title=tool.title or None,
            read_only_hint=tool.read_only,
            destructive_hint=False if tool.read_only else tool.destructive,
            idempotent_hint=tool.idempotent or tool.read_only,
        ),
    )


def _output(tool: ToolInfo) -> dict[str, Any] | None:
    """None where results may be of several kinds, of which only some are objects; or files, which are no JSON."""
    schema, definitions = dict(tool.output_schema), _definitions(tool.output_schema)
    if tool.streaming:
        schema.pop("$defs", None)
        schema = {"type": "array", "items": schema}
    elif _may_be_file(schema):
        return None
    wrapped = is_wrapped({**schema, "$defs": definitions})
    if wrapped is None:
        return None
    schema.pop("$defs", None)
    beside = {"$defs": definitions} if definitions else {}
    if wrapped:
        return {"type": "object", "properties": {RESULT: schema}, "required": [RESULT], **beside}
    if isinstance(ref := schema.get("$ref"), str):
        schema = dict(definitions[ref.removeprefix(_REF)])
    return {**schema, **beside}


def _definitions(schema: dict[str, Any]) -> dict[str, Any]:
    """With what stands within an object in the place of a file: SDKs describe a file there as a definition of its own."""
    return {name: _IN_PLACE if "contentEncoding" in each else each for name, each in schema.get("$defs", {}).items()}


def _may_be_file(schema: dict[str, Any]) -> bool:
    return "contentEncoding" in schema or any(_may_be_file(each) for each in schema.get("anyOf", ()))


def _kinds(schema: Any, root: dict[str, Any]) -> set[str] | None:
    """The types of JSON that it allows; None: any."""
    if not isinstance(schema, dict):
        return None
    if isinstance(ref := schema.get("$ref"), str) and ref.startswith(_REF):
        return _kinds(root.get("$defs", {}).get(ref.removeprefix(_REF)), root)
    if "type" in schema:
        return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    found = [_kinds(each, root) for each in schema.get("anyOf") or [None]]
    return None if None in found else set[str]().union(*(each for each in found if each))
