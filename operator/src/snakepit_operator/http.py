"""The kubelet's questions: /livez and /readyz. It knows nothing but the two functions that answer them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

Answer = Callable[[], str]
"""Empty: all is well. Otherwise a sentence that says what isn't."""


class Probes:
    """An HTTP server for `livez` and `readyz`."""

    def __init__(self, host: str, port: int, livez: Answer, readyz: Answer) -> None:
        app = web.Application()
        app.router.add_get("/livez", _handler(livez))
        app.router.add_get("/readyz", _handler(readyz))
        self._runner = web.AppRunner(app, access_log=None)
        self._host, self._port = host, port

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()


def _handler(answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(_: web.Request) -> web.Response:
        problem = answer()
        return web.Response(status=503 if problem else 200, text=(problem or "ok") + "\n")

    return handle
