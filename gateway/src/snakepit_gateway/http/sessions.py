"""Sessions of a pool, and their state with versions as ETags."""

from __future__ import annotations

import re

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from snakepit.client.pool import Pool
from snakepit.client.session import Session
from snakepit.errors import InvalidArguments, SessionNotFound
from snakepit_gateway import traces
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.http import answers, bodies, pages
from snakepit_gateway.http.pools import asked
from snakepit_gateway.problems import KeyNotFound, PreconditionFailed

_ETAG = re.compile(r'"(\d{1,18})"')


class Sessions:
    """Each method answers one path."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, request: Request) -> Response:
        pool = await asked(self._gateway, request)
        return pages.of_page(*await pool.session_page(pages.limit(request), request.query_params.get("after", "")))

    async def one(self, request: Request) -> Response:
        pool, name = await asked(self._gateway, request), request.path_params["session"]
        if request.method == "PUT":
            return await _made(pool, name, await request.body())
        session = pool.session(name)
        if request.method != "DELETE":
            return pages.json(await session.info())
        if not await session.delete():
            raise SessionNotFound(f"pool {pool.name} has no session {name!r}")
        return Response(status_code=204)

    async def keys(self, request: Request) -> Response:
        versions = await (await self._session(request)).state.versions()
        return pages.page(request, [{"key": key, "version": each} for key, each in versions.items()], lambda each: str(each["key"]))

    async def value(self, request: Request) -> Response:
        session, key = await self._session(request), request.path_params["key"]
        if request.method == "PUT":
            return await _written(session, key, request)
        if request.method == "DELETE":
            return await _deleted(session, key, request)
        value, version = await session.state.get_versioned(key)
        if not version:
            raise KeyNotFound(f"the state of session {session.id!r} has no key {key!r}")
        headers, body = answers.of_value(value)
        return _answer(200, version, headers, body)

    async def _session(self, request: Request) -> Session:
        session = (await asked(self._gateway, request)).session(request.path_params["session"])
        session.state.within(*traces.of_http(request.headers))
        return session


async def _made(pool: Pool, name: str, body: bytes) -> Response:
    """201 where there was none; else it is as it was."""
    try:
        new = msgspec.json.decode(body, type=bodies.NewSession) if body else bodies.NewSession()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArguments(f"the body may have ttlSeconds, metadata (texts) and group: {error}") from None
    session = pool.session(name, ttl_seconds=new.ttl_seconds, metadata=new.metadata, group=new.group)
    created = await session.create()
    return pages.json(await session.info(), 201 if created else 200)


async def _written(session: Session, key: str, request: Request) -> Response:
    """Over any version, or over that of If-Match; with `If-None-Match: *` only where the key is absent."""
    expected = _expected(request)
    value = bodies.value(bodies.media_type(dict(request.headers.raw)), await request.body())
    if expected is None:
        return _answer(204, await session.state.set(key, value))
    if not (version := await session.state.replace(key, value, expected)):
        raise PreconditionFailed(f"key {key!r} has another version: read it again")
    return _answer(204, version)


async def _deleted(session: Session, key: str, request: Request) -> Response:
    if "if-match" in request.headers or "if-none-match" in request.headers:
        raise InvalidArguments("a key is deleted whatever its version: send no If-Match")
    if not await session.state.delete(key):
        raise KeyNotFound(f"the state of session {session.id!r} has no key {key!r}")
    return Response(status_code=204)


def _expected(request: Request) -> int | None:
    """The version that must be there; 0: none. Raises InvalidArguments."""
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if none_match is not None:
        if none_match.strip() != "*" or match is not None:
            raise InvalidArguments("If-None-Match can only be *: the key must be absent; and not beside If-Match")
        return 0
    if match is None:
        return None
    found = _ETAG.fullmatch(match.strip())
    if found is None or not int(found[1]):
        raise InvalidArguments(f'If-Match {match[:40]!r} is not the ETag of a value, such as "3"')
    return int(found[1])


def _answer(status: int, version: int, headers: answers.RawHeaders | None = None, body: bytes = b"") -> Response:
    response = Response(body, status)
    response.raw_headers = [*(headers or ()), (b"etag", b'"%d"' % version), *response.raw_headers]
    return response
