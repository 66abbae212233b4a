"""How a page is answered: who asks, what is gathered for it, its HTML, or the stream that keeps it up to date."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, meta
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from snakepit.errors import InvalidArguments, SnakepitError, Unauthenticated
from snakepit_gateway.console import words
from snakepit_gateway.console.live import Live, Part
from snakepit_gateway.console.shared import Shared
from snakepit_gateway.console.viewer import Viewer
from snakepit_gateway.gateway import Gateway

COOKIE = "snakepit_token"
MOST_WATCHING = 200
EVERY_SECONDS = 0.5
USUAL_WATCHING = 25
"""Where more pages are watched, each is looked at less often: a replica is not to be kept busy by those who look at it."""
AGAIN_SECONDS = 5
"""After so long a browser asks again for a page that the control plane could not say anything for: it has no stream that would."""
_LIVE = "live_"
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

Context = dict[str, Any]
Gather = Callable[[Viewer, Request], Awaitable[Context]]
Act = Callable[[Viewer, Request], Awaitable[str]]


class Elsewhere(Exception):
    """What was asked for has a page of its own."""

    def __init__(self, to: str) -> None:
        super().__init__(to)
        self.to = to


def href(path: str, **query: object) -> str:
    """An address of the console; names that a path can't carry go into its query."""
    given = {key: value for key, value in query.items() if value not in ("", None)}
    return quote(path) + ("?" + urlencode(given) if given else "")


TEMPLATES = Environment(
    loader=PackageLoader("snakepit_gateway.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
TEMPLATES.filters.update(words.FILTERS)
TEMPLATES.globals.update(href=href)
TEMPLATES.globals["ui"] = TEMPLATES.get_template("ui.html").module


def draw(macro: str, *values: Any) -> str:
    """A macro of ui.html as HTML."""
    return str(getattr(TEMPLATES.globals["ui"], macro)(*values))


@functools.cache
def _ancestry(template: str) -> list[Template]:
    """A template, and those that it extends."""
    assert TEMPLATES.loader is not None
    source = TEMPLATES.loader.get_source(TEMPLATES, template)[0]
    extended = [name for name in meta.find_referenced_templates(TEMPLATES.parse(source)) if name]
    return [TEMPLATES.get_template(template), *(each for name in extended for each in _ancestry(name))]


class Desk:
    """One for a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.shared = Shared()
        self._watching = 0

    async def viewer(self, request: Request) -> Viewer:
        """Who asks: by the header Authorization, else by what was typed on the sign-in page. Raises SnakepitError."""
        header = request.headers.get("authorization", "")
        if header:
            return Viewer(await self._gateway.callers.of(request), self.shared, header.partition(" ")[2].strip(), typed=False)
        token = request.cookies.get(COOKIE, "")
        return await self.of_token(token)

    async def of_token(self, token: str) -> Viewer:
        """Who has typed it; empty: nobody has. Raises SnakepitError."""
        return Viewer(await self._gateway.callers.of_token(token), self.shared, token, typed=bool(token))

    def page(self, template: str, gather: Gather) -> Callable[[Request], Awaitable[Response]]:
        """The handler of a page; with `?live=…`, of the stream of its parts."""

        async def handle(request: Request) -> Response:
            if request.query_params.get("live"):
                return await self._live(template, gather, request)
            try:
                viewer = await self.viewer(request)
                context = await self.context(viewer, request, await gather(viewer, request))
            except Elsewhere as elsewhere:
                return RedirectResponse(elsewhere.to, 303, _HEADERS)
            except Unauthenticated:
                return RedirectResponse(href("/sign-in", to=_here(request)), 303, _HEADERS)
            except SnakepitError as error:
                failed = await self.failed(request, error)
                if error.http == HTTPStatus.SERVICE_UNAVAILABLE:
                    failed.headers["refresh"] = str(AGAIN_SECONDS)
                return failed
            return self.html(template, context)

        return handle

    def action(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        """The handler of a form that changes something: afterwards its reader is shown the page that `act` names."""

        async def handle(request: Request) -> Response:
            check_origin(request)
            try:
                viewer = await self.viewer(request)
                return RedirectResponse(await act(viewer, request), 303, _HEADERS)
            except Unauthenticated:
                return RedirectResponse("/sign-in", 303, _HEADERS)
            except SnakepitError as error:
                return await self.failed(request, error)

        return handle

    async def failed(self, request: Request, error: SnakepitError) -> Response:
        """The page that says what went wrong."""
        return self.html("failed.html", {**frame(request), "error": error}, error.http)

    def html(self, template: str, context: Mapping[str, Any], status: int = 200) -> Response:
        return HTMLResponse(TEMPLATES.get_template(template).render(context), status, _HEADERS)

    async def context(self, viewer: Viewer, request: Request, gathered: Context) -> Context:
        """What every page has, and what was gathered for this one."""
        query = [(key, value) for key, value in request.query_params.multi_items() if key not in ("live", "done")]
        # Each its own address: of one address a browser has one answer at a time, and a second tab would wait.
        live = f"{quote(request.url.path)}?{urlencode([*query, ('live', secrets.token_hex(4))])}"
        dev = self._gateway.client.server if self._gateway.settings.dev else ""
        shown = {"dev": dev, "live": live, "who": await viewer.who(), "typed": viewer.typed}
        return {**frame(request), **shown, "done": request.query_params.get("done", ""), **gathered}

    # ---- streams

    async def _live(self, template: str, gather: Gather, request: Request) -> Response:
        try:
            await (await self.viewer(request)).who()  # A stranger takes nobody's place.
        except Unauthenticated as error:
            return Live(self._say(request, str(error), True), lambda: 30.0, self._gateway.leaving)
        except SnakepitError:
            pass  # It is said in the stream, which asks again.
        if self._watching >= MOST_WATCHING:
            full = f"{MOST_WATCHING} pages are being watched: reload this one to see what is new"
            return Live(self._say(request, full), lambda: 30.0, self._gateway.leaving)

        page = str(request.url.remove_query_params("live"))

        async def look() -> list[Part]:
            try:
                viewer = await self.viewer(request)
                return await self.shared.get((viewer.identity, None, page), EVERY_SECONDS * 0.9, lambda: parts(viewer))
            except SnakepitError as error:
                return await self._say(request, str(error), isinstance(error, Unauthenticated))()

        async def parts(viewer: Viewer) -> list[Part]:
            return self.parts(template, await self.context(viewer, request, await gather(viewer, request)))

        return Live(look, self._every, self._gateway.leaving, self._count)

    def parts(self, template: str, context: Context) -> list[Part]:
        """Each block whose name begins with `live_` is an element of that id without it, and sent when it changed."""
        children: Mapping[str, tuple[str, tuple[Part, ...]]] = context.get("children", {})
        made = []
        for found in _ancestry(template):
            for block, render in found.blocks.items():
                if block.startswith(_LIVE):
                    name = block.removeprefix(_LIVE)
                    made.append(Part(name, "".join(render(found.new_context(context))), *children.get(name, ())))
        return made

    def _say(self, request: Request, trouble: str, sign_in: bool = False) -> Callable[[], Awaitable[list[Part]]]:
        async def say() -> list[Part]:
            context = {**frame(request), "trouble": trouble, "sign_in": sign_in}
            return [each for each in self.parts("base.html", context) if each.id == "trouble"]

        return say

    def _every(self) -> float:
        return EVERY_SECONDS * max(1.0, self._watching / USUAL_WATCHING)

    def _count(self, change: int) -> None:
        self._watching += change
        self._gateway.telemetry.streams("console", change)


def check_origin(request: Request) -> None:
    """A form is sent by a page of ours, never by a stranger's. Raises HTTPException."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = site == "same-origin" if site else origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not ours:
        raise HTTPException(403, "this form was not sent by a page of this console")


def _here(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def frame(request: Request) -> Context:
    """What every page has, whatever went wrong."""
    return {"path": request.url.path, "live": "", "trouble": "", "sign_in": False, "who": None, "typed": False, "pool_name": ""}


def pool_of(request: Request) -> str:
    """`namespace/name`, of the path."""
    return f"{request.path_params['namespace']}/{request.path_params['pool']}"


def said(request: Request, name: str, most: int = 200) -> str:
    """What a query or a form's address says under a name. Raises InvalidArguments where it is too long."""
    value = request.query_params.get(name, "").strip()
    if len(value) > most:
        raise InvalidArguments(f"{name} has {len(value)} characters, and may have {most}")
    return value
