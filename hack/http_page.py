"""The tables of docs/http.md and docs/mcp.md, for hack/docs.py: what the gateway serves, out of what its routes are made of."""

from __future__ import annotations

from collections.abc import Iterable

from places import DOCS, filled, in_place

from snakepit_gateway import bounds, room, server
from snakepit_gateway.http import bodies, openapi, pages, served
from snakepit_gateway.mcp import listening, progress
from snakepit_gateway.mcp import server as mcp
from snakepit_gateway.problems import OF_HTTP
from snakepit_gateway.settings import Settings

PAGE = DOCS / "http.md"
MCP_PAGE = DOCS / "mcp.md"
Rows = Iterable[tuple[str, ...]]


def page() -> str:
    """The page as it is, with today's tables."""
    text = PAGE.read_text()
    for place, table in tables().items():
        text = filled(text, place, table, of="docs/http.md")
    return text


def mcp_page() -> str:
    """The page of MCP, with its limits of today."""
    return in_place("mcp.md", "the limits of MCP", _table(("what", "limit"), _mcp_limits()))


def tables() -> dict[str, str]:
    """By their places in the page."""
    return {
        "the paths": _table(("request", "what"), _paths()),
        "the headers of a call": _table(("header", "what"), _asked()),
        "the headers of an answer": _table(("header", "what"), [(f"`{name}`", says) for name, says in served.ANSWERED.items()]),
        "the events": _table(("event", "data"), [(f"`{event}`", says) for event, says in served.EVENTS.items()]),
        "the members of a problem": _table(("member", "what"), _members()),
        "the reasons of HTTP": _table(("reason", "status", "when"), _reasons()),
        "the limits": _table(("what", "limit"), _limits()),
    }


def _table(head: tuple[str, ...], rows: Rows) -> str:
    first, *others = (f"| {' | '.join(each)} |\n" for each in (head, *rows))
    return "".join([first, "|---" * len(head) + "|\n", *others])


def _paths() -> Rows:
    for path, methods in served.PATHS.items():
        in_pages = ", in [pages](#pages)" if path in served.LISTS else ""
        yield from ((f"`{method} {path}`", f"{says}{in_pages}") for method, says in methods.items())


def _asked() -> Rows:
    for name, header in served.ASKED.items():
        words = (header.schema or {}).get("enum", ())
        one_of = f": `{'`, `'.join(words[:-1])}` or `{words[-1]}`" if words else ""
        yield f"`{name}`", f"{header.says}{one_of}"


def _members() -> Rows:
    required = openapi.PROBLEM["required"]
    for name, schema in openapi.PROBLEM["properties"].items():
        yield f"`{name}`", schema["description"] + ("" if name in required else "; not always there")


def _reasons() -> Rows:
    return ((each.reason, str(each.http), " ".join((each.__doc__ or "").split())) for each in OF_HTTP)


def _limits() -> Rows:
    return [
        ("a body (`SNAKEPIT_GATEWAY_MAX_BODY_BYTES`)", _size(Settings.max_body_bytes)),
        (
            f"bodies over {_size(room.LARGE_BYTES)}, of all requests together (`SNAKEPIT_GATEWAY_MAX_HELD_BYTES`)",
            _size(Settings.max_held_bytes),
        ),
        ("smaller ones, of all together; one more is GATEWAY_FULL", _size(Settings.max_held_bytes)),
        ("how long a large body waits for room", f"{room.WAIT_SECONDS:g} s"),
        (
            "how long a body may take to come, a large one when it has room",
            f"{bounds.PATIENCE_SECONDS:g} s, and a second more for each {_size(bounds.SLOWEST_BYTES_PER_SECOND)}",
        ),
        ("the headers of a request", f"{_size(bounds.MAX_HEADER_BYTES)}, and {server.MOST_HEADERS:,} of them"),
        ("how long they may take to come, and a new connection may bring nothing; then it is hung up", f"{server.HEAD_SECONDS:g} s"),
        ("what comes in a body or behind it beside its bytes, such as trailers, which nobody reads", _size(server.MOST_HEAD_BYTES)),
        ("how long a connection that nobody uses is kept", f"{server.IDLE_SECONDS:g} s"),
        ("requests that run (`SNAKEPIT_GATEWAY_MAX_REQUESTS`); one more is GATEWAY_FULL", f"{Settings.max_requests:,}"),
        (
            "[one address's](gateway.md#how-many-requests-run) (`SNAKEPIT_GATEWAY_MAX_REQUESTS_PER_ADDRESS`); one more is CALLER_LIMIT",
            f"{Settings.max_requests_per_address:,}",
        ),
        (
            "connections; for one more, the one that has been idle for longest is hung up",
            f"{server.SPARE_CONNECTIONS} more than requests may run",
        ),
        ("parts of a form", f"{bodies.MAX_PARTS:,}"),
        ("a part that is no file", _size(bodies.MAX_FIELD_BYTES)),
        ("items of a page", f"{pages.USUAL}, or `?limit=`, {pages.MOST:,} at most"),
    ]


def _mcp_limits() -> Rows:
    return [
        ("listeners of one gateway; one more is CALLER_LIMIT", f"{listening.MOST_LISTENERS:,}"),
        ("progress that waits for a slow client", f"{progress.MOST_WAITING} of a call; the oldest go"),
        ("pieces of a stream", f"{mcp.MOST_CHUNKS:,}, and {_size(mcp.MOST_CHUNK_BYTES)}"),
    ]


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
