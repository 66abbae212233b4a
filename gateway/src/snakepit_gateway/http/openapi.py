"""A pool's description as OpenAPI 3.1, made of its catalogue. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import snakepit
from snakepit.client import views
from snakepit.errors import BY_REASON, SnakepitError, ToolError
from snakepit_gateway.http.bodies import FORM, JSON, NewSession
from snakepit_gateway.http.wishes import NDJSON, SSE
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
    root = f"/v1/pools/{pool}"
    calls = {f"{root}/tools/{tool.name}": {"get": _about(tool), "post": _call(tool)} for tool in own}
    schemas = {name: each for tool in own for name, each in _of_tool(tool).items()}
    return {
        "openapi": "3.1.1",
        "info": {"title": f"Pool {pool}", "version": snakepit.__version__, "description": "The tools that its workers have now."},
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": {
            **calls,
            **_sessions(root),
            **_pool(root),
        },
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM, **({"Bytes": _BYTES} if _uses_bytes(schemas) else {}), **_VIEWS},
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


def _of(name: str, schema: Schema, tag: str, summary: str, status: int = 200, **more: Any) -> Schema:
    answers = {str(status): {"description": summary, "content": {JSON: {"schema": schema}}}}
    return {"operationId": name, "tags": [tag], "summary": summary, "responses": {**answers, **_PROBLEMS}, **more}


def _gone(name: str, summary: str) -> Schema:
    return {"operationId": name, "tags": ["sessions"], "summary": summary, "responses": {"204": {"description": summary}, **_PROBLEMS}}


def _page_of(schema: Schema) -> Schema:
    properties = {"items": {"type": "array", "items": schema}, "next": {"type": ["string", "null"]}}
    return {"type": "object", "properties": properties, "required": ["items", "next"]}


def _pages(name: str, view: str | Schema, tag: str, summary: str) -> Schema:
    schema = _ref(view) if isinstance(view, str) else view
    return _of(name, _page_of(schema), tag, summary, parameters=_parameters("limit", "after"))


def _parameters(*names: str) -> list[Schema]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _pool(root: str) -> Schema:
    return {
        root: {"get": _of("getPool", _ref("PoolInfo"), "pool", "How the pool is now")},
        f"{root}/tools": {"get": _pages("listTools", "ToolInfo", "pool", "Its tools")},
        f"{root}/workers": {"get": _pages("listWorkers", "WorkerInfo", "pool", "Its workers")},
    }


def _sessions(root: str) -> Schema:
    info = _ref("SessionInfo")
    made = _of("putSession", info, "sessions", "There was one already", requestBody={"content": {JSON: {"schema": _ref("NewSession")}}})
    made["responses"]["201"] = {"description": "It was made", "content": {JSON: {"schema": info}}}
    key = {"type": "object", "properties": {"key": {"type": "string"}, "version": {"type": "integer"}}, "required": ["key", "version"]}
    value: Schema = {"description": "The value", "headers": _ETAG, "content": {"*/*": {"schema": {}}}}
    written = _gone("putState", "It is written") | {
        "requestBody": {"content": {JSON: {"schema": {}}, "application/octet-stream": {"schema": {}}}, "required": True},
        "parameters": _parameters("If-Match", "If-None-Match"),
    }
    written["responses"]["204"] = {"description": "It is written", "headers": _ETAG}
    read = _gone("getState", "The value")
    read["responses"] = {"200": value, **_PROBLEMS}
    one = {
        "get": _of("getSession", info, "sessions", "How it is now"),
        "put": made,
        "delete": _gone("deleteSession", "It is over"),
    }
    return {
        f"{root}/sessions": {"get": _pages("listSessions", "SessionInfo", "sessions", "Its sessions")},
        f"{root}/sessions/{{session}}": {"parameters": [_path("session")], **one},
        f"{root}/sessions/{{session}}/state": {"parameters": [_path("session")], "get": _pages("listState", key, "sessions", "Its keys")},
        f"{root}/sessions/{{session}}/state/{{key}}": {
            "parameters": [_path("session"), _path("key")],
            "get": read,
            "put": written,
            "delete": _gone("deleteState", "It is deleted"),
        },
    }


def _path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": _NAMES[name]}}


def _parameter(where: str, name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": where, "description": description, "schema": {"type": "string", **schema}}


_NAMES = {"session": "^[A-Za-z0-9_.:@-]{1,128}$", "key": "^.{1,64}$"}
_OF_CALLS = ("Snakepit-Session", "Snakepit-Affinity", "Snakepit-Timeout", "Snakepit-Priority", "Idempotency-Key")
_VERSION = '^"[1-9][0-9]{0,17}"$'
_PARAMETERS = {
    "Snakepit-Session": _parameter(
        "header", "Snakepit-Session", "The session that the call belongs to", pattern="^[A-Za-z0-9_.:@/-]{1,128}$"
    ),
    "Snakepit-Affinity": _parameter(
        "header", "Snakepit-Affinity", "How strictly it stays with its worker", enum=["hint", "strict_queue", "strict_fail_fast"]
    ),
    "Snakepit-Timeout": _parameter("header", "Snakepit-Timeout", "Deadline in seconds", type="number", exclusiveMinimum=0, maximum=86400),
    "Snakepit-Priority": _parameter("header", "Snakepit-Priority", "In the queue", enum=["high", "normal", "low"]),
    "Idempotency-Key": _parameter("header", "Idempotency-Key", "The call runs once for all that have it", minLength=1, maxLength=255),
    "If-Match": _parameter("header", "If-Match", "The ETag that must still hold", pattern=_VERSION),
    "If-None-Match": _parameter("header", "If-None-Match", "The key must be absent", enum=["*"]),
    "limit": _parameter("query", "limit", "So many at most", type="integer", minimum=1, maximum=1000, default=100),
    "after": _parameter("query", "after", "What `next` of the page before says"),
}
_TEXT: Schema = {"schema": {"type": "string"}}
_ETAG = {"ETag": {**_TEXT, "description": "Its version"}}
_ANSWERED = {
    "Snakepit-Call-Id": {**_TEXT, "description": "Of this call, in logs and traces"},
    "Snakepit-Worker": {**_TEXT, "description": "Who ran it"},
}
_ERRORS: list[type[SnakepitError]] = [*BY_REASON.values(), ToolError, *OF_HTTP]
_STATUSES = {each.http for each in _ERRORS} - {_CANCELLED}
_PROBLEMS = {str(status): {"$ref": "#/components/responses/Problem"} for status in sorted(_STATUSES)}
_PROBLEM: Schema = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string"},
        "started": {"enum": ["unknown", "no", "maybe", "yes"]},
        "details": {"type": "object", "additionalProperties": {"type": "string"}},
        "retryAfter": {"type": "number"},
        "errorType": {"type": "string"},
        "traceback": {"type": "string"},
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
