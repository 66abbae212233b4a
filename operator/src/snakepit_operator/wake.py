"""kopf, and nothing but: it watches pools and pods and says whose turn it is. It reads and writes no object for us and leaves no trace.

Why it does no more is in docs/decisions/2026-11-28-what-kopf-is-for.md. It may end for many reasons: then it is started again,
and whatever was missed meanwhile, the list before it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import kopf

from snakepit.spec.fields import GROUP, PLURAL, VERSION
from snakepit_operator.asked import telling
from snakepit_operator.kube import Told
from snakepit_operator.pods import POOL_LABEL

RESTART_SECONDS = 2.0
LIST_SECONDS = 2.0
"""While SnakePools can't be listed, as they aren't defined yet, they are asked for this often."""
STOP_SECONDS = 5.0
IDLE_SECONDS = 0.5
"""kopf keeps each object that has changed in memory for so long."""
CHUNK = 200
"""Objects that it lists, and keeps in memory, at a time."""
IDENTITY: Any = "snakepit-operator"
"""kopf wants one even where it has no peers."""

OnWake = Callable[[str, str], None]
"""`(pool, version)`: it has changed, or, where `version` is empty, a pod of it. Pool empty: a watch has begun anew, and any may have."""

log = logging.getLogger(__name__)


async def until(listed: Callable[[], Awaitable[bool]]) -> None:
    """Ask until pools can be listed: then SnakePools are defined, and nothing was missed since the watch before."""
    while not await listed():  # noqa: ASYNC110  # it is the API server that has them, some time
        await asyncio.sleep(LIST_SECONDS)


async def watch_forever(
    namespaces: tuple[str, ...],
    on_wake: OnWake,
    until_listed: Callable[[], Awaitable[None]],
    *,
    pods: bool = True,
    tell: Told = lambda *_: None,
) -> None:
    """Watch, and watch again, until cancelled. `namespaces` empty: all. `pods`: a pool's pods wake it too.

    `until_listed` waits until pools can be listed: a kopf that starts before they are defined never watches them. `tell` hears of each
    request, in the loop.
    """
    while True:
        await until_listed()
        await watch(namespaces, on_wake, pods=pods, tell=tell)
        await asyncio.sleep(RESTART_SECONDS)


async def watch(namespaces: tuple[str, ...], on_wake: OnWake, *, pods: bool = True, tell: Told = lambda *_: None) -> None:
    """One life of kopf; its end is logged, not raised.

    It lives in a thread with a loop of its own: in ours it would take over the signals, and cancel our tasks when it ends.
    """
    loop = asyncio.get_running_loop()
    stop, ended = threading.Event(), loop.create_future()

    def life() -> None:
        told = _registry(lambda pool, version: _call(loop, on_wake, pool, version), pods, lambda *about: _call(loop, tell, *about))
        outcome = _live(namespaces, told, stop)
        _call(loop, _settle, ended, outcome)

    thread = threading.Thread(target=life, name="kopf", daemon=True)
    thread.start()
    try:
        log.warning("kopf ended: %s; again in %g s", await ended, RESTART_SECONDS)
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, STOP_SECONDS)


def _live(namespaces: tuple[str, ...], registry: kopf.OperatorRegistry, stop: threading.Event) -> str:
    try:
        asyncio.run(_kopf(namespaces, registry, stop))
    except Exception as error:  # whatever it dies of, it is started again, and the log says why
        return f"{type(error).__name__}: {error}"
    return "without an error"


async def _kopf(namespaces: tuple[str, ...], registry: kopf.OperatorRegistry, stop: threading.Event) -> None:
    try:
        await kopf.operator(
            registry=registry,
            settings=_settings(),
            standalone=True,
            # Or kopf makes one of the user's name, which a number like 65532 doesn't have.
            identity=IDENTITY,
            clusterwide=not namespaces,
            namespaces=list(namespaces),
            stop_flag=stop,
        )
    finally:
        stop.set()  # kopf waits for it in a thread, without which its loop would never end


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to be told
        loop.call_soon_threadsafe(function, *arguments)


def _settle(ended: asyncio.Future[str], outcome: str) -> None:
    if not ended.done():
        ended.set_result(outcome)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = CHUNK
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = (1, 1, 2, 3, 5)
    settings.watching.label_selectors["pods"] = POOL_LABEL
    return settings


def _registry(on_wake: OnWake, pods: bool, tell: Told) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def pool_changed(type: str | None, namespace: str | None, name: str | None, meta: kopf.Meta, **_: Any) -> None:
        on_wake(*(("", "") if type is None else (f"{namespace}/{name}", str(meta.get("resourceVersion", "")))))

    async def pod_changed(type: str | None, namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        if pool := labels.get(POOL_LABEL):
            on_wake("" if type is None else f"{namespace}/{pool}", "")

    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        return None if (found := _login(**kwargs)) is None else _Telling(found, tell)

    kopf.on.login(registry=registry)(login)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(pool_changed)
    if pods:
        kopf.on.event("", "v1", "pods", labels={POOL_LABEL: kopf.PRESENT}, registry=registry)(pod_changed)
    return registry


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_kubeconfig(**kwargs) if os.environ.get("KUBECONFIG") else kopf.login_with_service_account(**kwargs)


class _Telling(kopf.AiohttpSession):
    """A login whose session tells of its requests; it is made when kopf first wants it, which also closes it.

    Two are equal whose logins are: kopf remembers those that were refused, and asks for no other before there is a new one.
    """

    def __init__(self, login: kopf.ConnectionInfo, tell: Told) -> None:
        about = {name: getattr(login, name) for name in ("server", "priority", "default_namespace", "expiration")}
        for name, value in {**about, "login": login, "tell": tell}.items():
            object.__setattr__(self, name, value)  # kopf's are frozen

    login: kopf.ConnectionInfo
    tell: Told

    @functools.cached_property
    def aiohttp_session(self) -> aiohttp.ClientSession:  # theirs is given one
        """As kopf makes its own."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self.login.as_ssl_context()),
            headers=self.login.as_http_headers(),
            proxy=self.login.proxy_url,
            trust_env=self.login.trust_env,
            trace_configs=[telling(self.tell)],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Telling) and self.login == other.login

    def __hash__(self) -> int:
        return hash(self.login)
