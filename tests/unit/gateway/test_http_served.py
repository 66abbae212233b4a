"""What the gateway says that it serves is what it serves; and what a client's headers ask for."""

from __future__ import annotations

import pytest

from snakepit import Client
from snakepit_gateway.callers import Callers
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.http import routes, served
from snakepit_gateway.http.openapi import document
from snakepit_gateway.http.wishes import stream
from snakepit_gateway.settings import Settings


def test_every_path_has_a_route_that_takes_its_methods_and_no_others() -> None:
    client = Client("localhost:1")
    made = routes(Gateway(client, Callers(client), Settings()))
    found = {each.path.replace(":path", ""): {*each.methods} - {"HEAD"} for each in made}  # type: ignore[attr-defined]
    assert found == {path: set(methods) for path, methods in served.PATHS.items()}


def test_a_pools_document_has_all_of_its_paths_and_no_others() -> None:
    """Those of a tool stand there for each tool, and the document itself needn't."""
    described = document("{namespace}/{pool}", [])["paths"]
    found = {path: {method.upper() for method in each if method != "parameters"} for path, each in described.items()}
    elsewhere = {served.TOOL, served.OPENAPI, served.POOLS, served.WHOAMI}
    assert found == {path: set(methods) for path, methods in served.PATHS.items() if path not in elsewhere}


@pytest.mark.parametrize(
    ("accept", "kind", "whole"),
    [
        ("", "", True),
        ("*/*", "", True),
        ("application/json", "", True),
        ("text/event-stream", served.SSE, False),
        ("Text/Event-Stream", served.SSE, False),
        ("text/event-stream, */*", served.SSE, False),
        ("application/x-ndjson, text/event-stream", served.NDJSON, False),
        ("application/x-ndjson;q=0.5, text/event-stream", served.SSE, False),
        ("application/json, text/event-stream", served.SSE, True),
        ("application/json;q=0.9, text/event-stream;q=0.9;charset=utf-8", served.SSE, True),
        ("application/json;q=0.9, text/event-stream", served.SSE, False),
        ("application/json, text/event-stream;q=0.5", "", True),
        ("text/event-stream;q=0", "", True),
        ("text/event-stream;q=much", served.SSE, False),
        ("text/event-streams", "", True),
    ],
)
def test_what_is_accepted_decides_between_a_stream_and_json(accept: str, kind: str, whole: bool) -> None:
    assert stream(accept) == (kind, whole)
