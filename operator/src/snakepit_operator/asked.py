"""What a request of kopf's to the API server is called, as RBAC has it, and who is told of each. Its own session makes them, not `kube`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import SimpleNamespace

import aiohttp

from snakepit_operator.kube import Told

DISCOVERY = "discovery"
"""The resource of requests for what an API server has."""

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def named(method: str, path: str, query: Mapping[str, str]) -> tuple[str, str]:
    """`(verb, resource)` of a request."""
    _, root, *parts = path.split("/")
    parts = parts[1:] if root == "api" else parts[2:]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    if not parts:
        return "get", DISCOVERY
    resource, *name = parts
    if len(name) > 1:
        resource = f"{resource}/{name[1]}"
    if method == "GET" and not name:
        return ("watch" if query.get("watch") == "true" else "list"), resource
    return _VERBS.get(method, "other"), resource


def telling(tell: Told) -> aiohttp.TraceConfig:
    """Tell of each request of a session once its answer begins, or doesn't come."""

    async def start(session: aiohttp.ClientSession, its: SimpleNamespace, _: aiohttp.TraceRequestStartParams) -> None:
        its.began = time.monotonic()

    async def end(session: aiohttp.ClientSession, its: SimpleNamespace, about: aiohttp.TraceRequestEndParams) -> None:
        tell(*named(about.method, about.url.path, about.url.query), about.response.status, time.monotonic() - its.began)

    async def failed(session: aiohttp.ClientSession, its: SimpleNamespace, about: aiohttp.TraceRequestExceptionParams) -> None:
        tell(*named(about.method, about.url.path, about.url.query), 0, time.monotonic() - its.began)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    config.on_request_end.append(end)
    config.on_request_exception.append(failed)
    return config
