"""The server of custom.metrics.k8s.io: it tells a HorizontalPodAutoscaler what the statuses of pools say.

The API server hands requests on to it, and nobody else is answered. It needs no leader: every replica of the operator serves.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from aiohttp import web
from msgspec import Struct

from snakepit._wire.targets import parse_target
from snakepit_operator.access import Access, Attributes
from snakepit_operator.front_proxy import CONFIG_MAP, FrontProxy, User, front_proxy
from snakepit_operator.kube import CONFIG_MAPS, Kube, KubeError
from snakepit_operator.model import MOMENT
from snakepit_operator.pool_metrics import API_GROUP, API_GROUP_VERSION, METRICS, RESOURCE, failure, resources, value, values
from snakepit_operator.pools import Pools

REFRESH_SECONDS = 30.0
"""A new certificate, of ours or of those that the API server is known by, holds within this time."""
HANDSHAKE_SECONDS = 2.0
HANDSHAKES = 32
"""So many peers may be about to prove that they are the API server; the next one waits in the kernel's queue."""
END_SECONDS = 1.0

_ROOT = f"/apis/{API_GROUP}/{API_GROUP_VERSION}"
_NO_LAYER = "this cluster's API server has no aggregation layer (--requestheader-client-ca-file)"
_STRANGER = "only the API server is answered here: by the names of its certificate, and with the user for whom it asks"
_UNKNOWN = "no control-plane replica answers, or no worker is ready"

_USER = web.RequestKey("user", User)

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Trust(Struct, frozen=True):
    """Whom it believes, and what it shows."""

    proxy: FrontProxy
    certificate: bytes
    key: bytes


class MetricsApi:
    """Serves at `listen`, with `tls.crt` and `tls.key` of that folder. Both are read again every `refresh_seconds`."""

    def __init__(self, kube: Kube, pools: Pools, listen: str, certificates: Path, refresh_seconds: float = REFRESH_SECONDS) -> None:
        self._kube, self._pools = kube, pools
        self._listen = listen
        self._certificate, self._key = certificates / "tls.crt", certificates / "tls.key"
        self._refresh_seconds = refresh_seconds
        self._access = Access(kube)
        self._trust: _Trust | None = None
        self._context: ssl.SSLContext | None = None
        self._ready = asyncio.Event()
        self._problem = ""

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError when the port is taken."""
        application = web.Application(middlewares=[self._guarded])
        application.router.add_get(_ROOT, self._discover)
        application.router.add_get(f"{_ROOT}/namespaces/{{namespace}}/{RESOURCE}/{{name}}/{{metric}}", self._tell)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=END_SECONDS)
        await runner.setup()
        try:
            with _bound(self._listen) as listener:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._refresh_forever(runner), name="metrics API certificates")
                    tasks.create_task(self._accept_forever(listener, runner), name="metrics API")
        finally:
            await runner.cleanup()

    # ---- who comes in

    async def _accept_forever(self, listener: socket.socket, runner: web.AppRunner) -> None:
        """aiohttp would let anybody hold a connection open for ever that says nothing, and every pod can dial the port."""
        await self._ready.wait()
        loop, room = asyncio.get_running_loop(), asyncio.Semaphore(HANDSHAKES)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await room.acquire()
                try:
                    peer, _ = await loop.sock_accept(listener)
                except OSError as error:  # no file is left, or the peer has gone
                    log.warning("the metrics API could not take a connection: %s", error)
                    await asyncio.sleep(HANDSHAKE_SECONDS)
                    room.release()
                    continue
                tasks.create_task(self._shake_hands(peer, runner)).add_done_callback(lambda _: room.release())

    async def _shake_hands(self, peer: socket.socket, runner: web.AppRunner) -> None:
        loop = asyncio.get_running_loop()
        try:
            assert runner.server is not None
            await loop.connect_accepted_socket(runner.server, peer, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS)
        except Exception as error:  # whatever a stranger sends must not end the operator
            log.debug("a peer of the metrics API has not proved that it is the API server: %s", error)

    async def _refresh_forever(self, runner: web.AppRunner) -> None:
        while True:
            try:
                await self._refresh(runner)
                self._problem = ""
            except (KubeError, OSError, ValueError) as error:
                if str(error) != self._problem:
                    log.warning("the metrics API goes by the certificates that it has, if any: %s", error)
                self._problem = str(error)
            await asyncio.sleep(self._refresh_seconds)

    async def _refresh(self, runner: web.AppRunner) -> None:
        proxy = front_proxy(await self._kube.get(CONFIG_MAPS, *CONFIG_MAP))
        if proxy is None:
            raise ValueError(_NO_LAYER)
        trust, before = _Trust(proxy, self._certificate.read_bytes(), self._key.read_bytes()), self._trust
        if trust == before:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=proxy.authorities)
        context.load_cert_chain(self._certificate, self._key)
        self._trust, self._context = trust, context
        if before is not None and before.proxy.authorities != proxy.authorities and runner.server is not None:
            await runner.server.shutdown(END_SECONDS)  # whoever was let in by an authority that counts no more
        log.info("the metrics API is served at %s", self._listen)
        self._ready.set()

    # ---- what is answered

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport, trust = request.transport, self._trust
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        user = trust.proxy.user(certificate, request.headers.items()) if trust is not None else None
        if user is None:
            return _refused(401, _STRANGER)
        request[_USER] = user
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _refused(error.status, f"{request.method} {request.path}: {error.reason}")
        except KubeError as error:
            return _refused(error.code if error.code >= 400 else 503, f"the operator can't tell: {error.message}")
        except msgspec.ValidationError as error:
            return _refused(500, f"this version of the operator can't read that SnakePool: {error}")

    async def _discover(self, request: web.Request) -> web.Response:
        refusal = await self._refusal(request, {"nonResourceAttributes": {"path": _ROOT, "verb": "get"}})
        return refusal or web.json_response(resources())

    async def _tell(self, request: web.Request) -> web.Response:
        namespace, name, metric = (request.match_info[each] for each in ("namespace", "name", "metric"))
        what = {"group": API_GROUP, "version": API_GROUP_VERSION, "resource": RESOURCE, "subresource": metric}
        attributes = {"resourceAttributes": {**what, "namespace": namespace, "name": name, "verb": "get"}}
        if refusal := await self._refusal(request, attributes):
            return refusal
        if metric not in METRICS:
            return _refused(404, f"there is no metric {metric} of pools: use one of {', '.join(METRICS)}")
        if request.query.get("metricLabelSelector"):
            return _refused(400, "metrics of pools have no labels: leave out metric.selector")
        stamp = datetime.now(UTC).strftime(MOMENT)
        if name == "*":
            return web.json_response(values(await self._pools.labelled(namespace, request.query.get("labelSelector", "")), metric, stamp))
        pool = await self._pools.get(f"{namespace}/{name}")
        if pool is None:
            return _refused(404, f'{RESOURCE} "{name}" not found')
        if value(pool, metric) is None:
            return _refused(404, f"{metric} of the pool {namespace}/{name} isn't known now: {_UNKNOWN}")
        return web.json_response(values([pool], metric, stamp))

    async def _refusal(self, request: web.Request, attributes: Attributes) -> web.Response | None:
        user = request[_USER]
        why = await self._access.refusal(user, attributes)
        return None if why is None else _refused(403, f"{user.name} may not get {request.path}: {why}")


def _refused(code: int, message: str) -> web.Response:
    return web.json_response(failure(code, message), status=code)


def _bound(listen: str) -> socket.socket:
    """0.0.0.0 is every address, those of IPv6 too, as for gRPC's ports."""
    host, port = parse_target(listen)
    if host == "0.0.0.0" and socket.has_dualstack_ipv6():
        listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setblocking(False)
    return listener
