"""Lists in pages: `{"items": […], "next": "…"}`, the next one with `?after=` what `next` says. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from snakepit.errors import InvalidArguments

T = TypeVar("T")

USUAL = 100
MOST = 1000


def json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def limit(request: Request) -> int:
    """Raises InvalidArguments."""
    text = request.query_params.get("limit", str(USUAL))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MOST:
        raise InvalidArguments(f"limit {text[:40]!r} is not a whole number from 1 to {MOST}")
    return int(text)


def page(request: Request, items: Sequence[T], name: Callable[[T], str]) -> Response:
    """Of all items, those behind `after`, in the order of their names."""
    after, most = request.query_params.get("after", ""), limit(request)
    left = sorted((each for each in items if name(each) > after), key=name)
    return of_page(left[:most], name(left[most - 1]) if len(left) > most else "")


def of_page(items: Sequence[Any], following: str) -> Response:
    """`following` empty: it is the last."""
    return json({"items": items, "next": following or None})
