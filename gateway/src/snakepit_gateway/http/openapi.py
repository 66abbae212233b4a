"""A pool's description as OpenAPI 3.1, made of its catalogue. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import snakepit
from snakepit.client import views
from snakepit.errors import BY_REASON, SnakepitError, ToolError
from snakepit_gateway.http import served
from snakepit_gateway.http.bodies import FORM, NewSession
from snakepit_gateway.http.served import JSON, NDJSON, SSE
from snakepit_gateway.problems import MEDIA_TYPE, OF_HTTP

Schema = dict[str, Any]

_TAGS = {"tools": "Calls of tools", "sessions": "Sessions, whose calls stay together, and their state", "pool": "What is known of the pool"}
_VALUES = ("default", "enum", "const", "examples")

_SCHEMAS = "#/components/schemas/"
_DEFS = "#/$defs/"
_CANCELLED = 499
"""Nobody is there to get it."""


def document(pool: str, tools: Sequence[views.ToolInfo]) -> Schema:
    """Of the tools that workers have; those that clients offer are for workers to call."""
    own = [tool for tool in tools if tool.provider == "worker"]
    calls = {served.TOOL.replace("{tool}", tool.name): {"get": _about(tool), "post": _call(tool)} for tool in own}
    schemas = {name: each for tool in own for name, each in _of_tool(tool).items()}
    return {
        "openapi": "3.1.1",
        "info": {"title": f"Pool {pool}", "version": snakepit.__version__, "description": "The tools that its workers have now."},
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": {path.replace("{namespace}/{pool}", pool): each for path, each in {**calls, **_sessions(), **_pool()}.items()},
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM, **({"Bytes": _BYTES} if _uses_bytes(schemas) else {}), **_VIEWS},
            "parameters": _PARAMETERS,
            "responses": {"Problem": {"description": "What went wrong", "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _uses_bytes(schemas: Mapping[str, Schema]) -> bool:
    return f'"{_SCHEMAS}Bytes"'.encode() in msgspec.json.encode(schemas)


# ---- tools


def _call(tool: views.ToolInfo) -> Schema:
    content: Schema = {JSON: {"schema": _ref(f"{tool.name}.arguments")}}
    if files := [name for name, each in tool.input_schema.get("properties", {}).items() if _is_bytes(each)]:
        content[FORM] = {"schema": _form(tool, files)}
    return {
        "operationId": tool.name,
        "tags": ["tools"],
        "summary": tool.title or tool.name,
        "description": tool.description,
        "parameters": _parameters(*_OF_CALLS),
        "requestBody": {"content": content, "required": bool(tool.input_schema.get("required"))},
        "responses": {"200": {"description": "Its result", "headers": _ANSWERED, "content": _result(tool)}, **_PROBLEMS},
    }


def _about(tool: views.ToolInfo) -> Schema:
    """Names of tools are lower-case: this one is no tool's."""
    return _of(f"Describe.{tool.name}", _ref("ToolInfo"), "tools", f"What the catalogue says of {tool.name}")


def _form(tool: views.ToolInfo, files: Sequence[str]) -> Schema:
    """The same arguments; what is bytes is a file."""
    same = {name: _ref(f"{tool.name}.arguments/properties/{name}") for name in tool.input_schema["properties"]}
    octets = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {"type": "object", "properties": {**same, **dict.fromkeys(files, octets)}}
    return form | ({"required": tool.input_schema["required"]} if tool.input_schema.get("required") else {})


def _result(tool: views.ToolInfo) -> Schema:
    """A call that doesn't stream can be had as events too, which would make its result text for every client that is generated."""
    if tool.streaming:
        items = _ref(f"{tool.name}.result") if _has_result(tool) else {}
        return {JSON: {"schema": {"type": "array", "items": items}}, **{kind: {"schema": {"type": "string"}} for kind in (SSE, NDJSON)}}
    if not _has_result(tool):
        return {"*/*": {"schema": {}}}
    return {JSON: {"schema": _ref(f"{tool.name}.result")}}


def _has_result(tool: views.ToolInfo) -> bool:
    """One that is JSON of a known form."""
    return bool(tool.output_schema) and not _is_bytes(tool.output_schema)


def _of_tool(tool: views.ToolInfo) -> dict[str, Schema]:
    """Its schemas, each definition under a name of its own."""
    found: dict[str, Schema] = {}
    for role, schema in (("arguments", tool.input_schema), *([("result", tool.output_schema)] if _has_result(tool) else [])):
        own = f"{tool.name}.{role}"
        definitions = schema.get("$defs", {})
        for name, each in {**definitions, "": {key: each for key, each in schema.items() if key != "$defs"}}.items():
            found[f"{own}.{name}" if name else own] = _moved(each, own, given=role == "result")
    return found


def _moved(schema: Any, own: str, *, given: bool) -> Any:
    """With references into the document. In what is `given`, bytes are an object: {"$base64": …}."""
    if isinstance(schema, list):
        return [_moved(each, own, given=given) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if given and _is_bytes(schema):
        return _ref("Bytes")
    made = {key: each if key in _VALUES else _moved(each, own, given=given) for key, each in schema.items()}
    if isinstance(ref := made.get("$ref"), str) and ref.startswith(_DEFS):
        made["$ref"] = f"{_SCHEMAS}{own}.{ref.removeprefix(_DEFS)}"
    return made


def _is_bytes(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "string" and schema.get("contentEncoding") == "base64"


# ---- what every pool has


def _ref(name: str) -> Schema:
    return {"$ref": _SCHEMAS + name}


def _of(name: str, schema: Schema, tag: str, summary: str, **more: Any) -> Schema:
    answers = {"200": {"description": summary, "content": {JSON: {"schema": schema}}}}
    return {"operationId": name, "tags": [tag], "summary": summary, "responses": {**answers, **_PROBLEMS}, **more}


def _gone(name: str, summary: str) -> Schema:
    return {"operationId": name, "tags": ["sessions"], "summary": summary, "responses": {"204": {"description": summary}, **_PROBLEMS}}


def _page_of(schema: Schema) -> Schema:
    properties = {"items": {"type": "array", "items": schema}, "next": {"type": ["string", "null"]}}
    return {"type": "object", "properties": properties, "required": ["items", "next"]}


def _pages(name: str, view: str | Schema, tag: str, path: str) -> Schema:
    schema = _ref(view) if isinstance(view, str) else view
    return _of(name, _page_of(schema), tag, served.PATHS[path]["GET"], parameters=_parameters("limit", "after"))


def _parameters(*names: str) -> list[Schema]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _pool() -> Schema:
    return {
        served.POOL: {"get": _of("getPool", _ref("PoolInfo"), "pool", served.PATHS[served.POOL]["GET"])},
        served.TOOLS: {"get": _pages("listTools", "ToolInfo", "pool", served.TOOLS)},
        served.WORKERS: {"get": _pages("listWorkers", "WorkerInfo", "pool", served.WORKERS)},
    }


def _sessions() -> Schema:
    key = {"type": "object", "properties": {"key": {"type": "string"}, "version": {"type": "integer"}}, "required": ["key", "version"]}
    return {
        served.SESSIONS: {"get": _pages("listSessions", "SessionInfo", "sessions", served.SESSIONS)},
        served.SESSION: {"parameters": [_path("session")], **_session()},
        served.STATE: {"parameters": [_path("session")], "get": _pages("listState", key, "sessions", served.STATE)},
        served.VALUE: {"parameters": [_path("session"), _path("key")], **_value()},
    }


def _session() -> Schema:
    info, says = _ref("SessionInfo"), served.PATHS[served.SESSION]
    made = _of("putSession", info, "sessions", says["PUT"], requestBody={"content": {JSON: {"schema": _ref("NewSession")}}})
    made["responses"]["201"] = {"description": "It was made", "content": {JSON: {"schema": info}}}
    return {"get": _of("getSession", info, "sessions", says["GET"]), "put": made, "delete": _gone("deleteSession", says["DELETE"])}


def _value() -> Schema:
    says = served.PATHS[served.VALUE]
    read = _gone("getState", says["GET"])
    read["responses"] = {"200": {"description": "It", "headers": _ETAG, "content": {"*/*": {"schema": {}}}}, **_PROBLEMS}
    written = _gone("putState", says["PUT"]) | {
        "requestBody": {"content": {JSON: {"schema": {}}, "application/octet-stream": {"schema": {}}}, "required": True},
        "parameters": _parameters("If-Match", "If-None-Match"),
    }
    written["responses"]["204"] = {"description": "It is written", "headers": _ETAG}
    return {"get": read, "put": written, "delete": _gone("deleteState", says["DELETE"])}


def _path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": _NAMES[name]}}


def _parameter(where: str, name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": where, "description": description, "schema": {"type": "string", **schema}}


_NAMES = {"session": "^[A-Za-z0-9_.:@-]{1,128}$", "key": "^.{1,64}$"}
_OF_CALLS = {name: each for name, each in served.ASKED.items() if each.schema is not None}
_VERSION = '^"[1-9][0-9]{0,17}"$'
_PARAMETERS = {
    **{name: _parameter("header", name, each.says, **(each.schema or {})) for name, each in _OF_CALLS.items()},
    "If-Match": _parameter("header", "If-Match", "The ETag that must still hold", pattern=_VERSION),
    "If-None-Match": _parameter("header", "If-None-Match", "The key must be absent", enum=["*"]),
    "limit": _parameter("query", "limit", "So many at most", type="integer", minimum=1, maximum=1000, default=100),
    "after": _parameter("query", "after", "What `next` of the page before says"),
}
_TEXT: Schema = {"schema": {"type": "string"}}
_ETAG = {"ETag": {**_TEXT, "description": "Its version"}}
_ANSWERED = {name: {**_TEXT, "description": says} for name, says in served.ANSWERED.items()}
_ERRORS: list[type[SnakepitError]] = [*BY_REASON.values(), ToolError, *OF_HTTP]
_STATUSES = {each.http for each in _ERRORS} - {_CANCELLED}
_PROBLEMS = {str(status): {"$ref": "#/components/responses/Problem"} for status in sorted(_STATUSES)}
PROBLEM: Schema = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "description": "The word of the table, for programs"},
        "detail": {"type": "string", "description": "One sentence, for people"},
        "started": {
            "enum": ["unknown", "no", "maybe", "yes"],
            "description": "May the tool have run? `no` is safe to send again; `maybe` and `yes` are not, unless the tool can run twice",
        },
        "details": {"type": "object", "additionalProperties": {"type": "string"}, "description": "More for programs, as text"},
        "retryAfter": {
            "type": "number",
            "description": "Seconds, where waiting helps; the header `Retry-After` has it in whole ones",
        },
        "errorType": {"type": "string", "description": "The class of what the tool raised"},
        "traceback": {"type": "string", "description": "Where it did"},
        "type": {"type": "string", "description": "The reason as a URN, as the RFC has it"},
        "title": {"type": "string", "description": "The reason in words"},
        "status": {"type": "integer", "description": "That of the answer"},
    },
    "required": ["type", "title", "status", "detail", "reason", "started", "details"],
}
_BYTES: Schema = {
    "type": "object",
    "properties": {
        "$base64": {"type": "string", "contentEncoding": "base64"},
        "contentType": {"type": "string"},
        "dtype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["$base64"],
}
_VIEWS = msgspec.json.schema_components(
    [views.PoolInfo, views.ToolInfo, views.WorkerInfo, views.SessionInfo, NewSession], ref_template=_SCHEMAS + "{name}"
)[1]
