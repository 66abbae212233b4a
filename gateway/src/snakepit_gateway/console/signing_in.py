"""Who has a token types it once: it is kept in a cookie that only this console's server reads. Behind a proxy that asks, nobody types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from snakepit.errors import SnakepitError
from snakepit_gateway.console.desk import COOKIE, Desk, check_origin, frame

Handler = Callable[[Request], Awaitable[Response]]

MOST_CHARACTERS = 3900
"""Browsers keep cookies of 4096 bytes."""


def pages(desk: Desk) -> tuple[Handler, Handler, Handler]:
    """The handlers: of the page, of its form, and of signing out."""

    async def ask(request: Request) -> Response:
        return desk.html("sign_in.html", {**frame(request), "to": _to(request.query_params.get("to")), "wrong": ""})

    async def take(request: Request) -> Response:
        check_origin(request)
        form = await request.form()
        token, to = str(form.get("token") or "").strip(), _to(form.get("to"))
        wrong = await _wrong(desk, token)
        if wrong:
            return desk.html("sign_in.html", {**frame(request), "to": to, "wrong": wrong}, 401)
        answer = RedirectResponse(to, 303)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    async def leave(request: Request) -> Response:
        check_origin(request)
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    return ask, take, leave


async def _wrong(desk: Desk, token: str) -> str:
    """Why the token won't do, in a sentence; empty: it does."""
    if not token or len(token) > MOST_CHARACTERS or not token.isascii() or not token.isprintable() or set(token) & set(' ;,"\\'):
        return f"That is no token: it is one word of at most {MOST_CHARACTERS} characters, as `kubectl create token` prints it."
    try:
        await (await desk.of_token(token)).who()
    except SnakepitError as error:
        return str(error)
    return ""


def _to(value: object) -> str:
    """Where to go on: a page of ours, never somebody else's."""
    text = str(value or "/")
    return text if text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable() else "/"
