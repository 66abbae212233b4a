"""The console with 1,000 workers and 10,000 sessions: what a reader waits, is sent, and costs.

The application is the real one; behind it stands a control plane's answers, in which all workers change twice a second.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import uvicorn
from playwright.async_api import Browser, async_playwright
from starlette.applications import Starlette

from snakepit.client import views
from snakepit.client.history import Minute, PoolHistory
from snakepit_gateway import console
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.settings import Settings
from tests.bench.rows import Row, Target

WORKERS, PER_CAPSULE, SESSIONS, WAITING = 1_000, 8, 10_000, 400
SECONDS, READERS = 15.0, 20
NAME = "default/large"
PAGES = {"pool": f"/pools/{NAME}", "calls": f"/pools/{NAME}/calls", "sessions": f"/pools/{NAME}/sessions", "pools": "/"}


_PAINTED = """new Promise(done =>
    new PerformanceObserver(found => done(found.getEntries().at(-1).startTime)).observe({type: "paint", buffered: true}))"""


class Large:
    """What the SDK's pools and pool say of it."""

    name = NAME

    def __init__(self) -> None:
        now = datetime.now(UTC)
        self._sessions = [self._session(at, now) for at in range(SESSIONS)]
        minute = now.replace(second=0, microsecond=0)
        minutes = [Minute(minute - timedelta(minutes=at), 60_000 + 997 * at, {"TOOL_ERROR": at}, 0.01, 0.2, 0.1) for at in range(60)]
        self._history = PoolHistory(minutes, 1000.0, 0.01, 0.2, {"TOOL_ERROR": 3}, ())

    def pool(self, *_: Any, **__: Any) -> Large:
        return self

    async def whoami(self) -> views.CallerInfo:
        return views.CallerInfo("ada", (), None)

    async def rights(self) -> frozenset[str]:
        return frozenset({"get snakepools/status", "update snakepools/workers", "list snakepools/calls", "create snakepools/call"})

    async def pools(self) -> list[views.PoolInfo]:
        return [await self.info()]

    async def info(self) -> views.PoolInfo:
        capsules, busy = WORKERS // PER_CAPSULE, random.randint(0, WORKERS)
        return views.PoolInfo(NAME, True, "Ready", "", capsules, capsules, WORKERS, busy, WORKERS, WAITING, SESSIONS, 1)

    async def workers(self) -> list[views.WorkerInfo]:
        return [self._worker(at) for at in range(WORKERS)]

    async def tools(self) -> list[views.ToolInfo]:
        return []

    async def sessions(self) -> list[views.SessionInfo]:
        return self._sessions

    async def history(self) -> PoolHistory:
        return self._history

    async def calls(self, *, limit: int = 100, state: str | None = None, **_: Any) -> views.CallList:
        return views.CallList(self._call(state or "ended") for _ in range(min(limit, WAITING)))

    def _worker(self, at: int) -> views.WorkerInfo:
        state, running = random.choices(("ready", "starting", "draining"), (98, 1, 1))[0], random.randint(0, 1)
        id_ = f"large-{at // PER_CAPSULE}-abcde/{at % PER_CAPSULE}"
        return views.WorkerInfo(
            id_, f"{at:016x}", state, "live", 1, running, 10, 0, 50 << 20, 0.1, random.random() * 100, 60.0, "", "", 4000 + at
        )

    def _session(self, at: int, now: datetime) -> views.SessionInfo:
        used = now - timedelta(seconds=at)
        worker = f"large-{at % 125}-abcde/{at % PER_CAPSULE}"
        return views.SessionInfo(
            f"session-{at}", NAME, f"{at:x}", {}, now, used, now, 3600.0, worker, f"{at:016x}", 1, f"user-{at % 50}", ""
        )

    def _call(self, state: str) -> views.CallInfo:
        at = random.randrange(WORKERS)
        said = {
            "id": f"{random.getrandbits(64):016x}",
            "tool": "classify",
            "caller": f"user-{at % 50}",
            "state": state,
            "reason": "OK" if state == "ended" else "",
            "worker": f"large-{at // PER_CAPSULE}-abcde/{at % PER_CAPSULE}",
            "incarnation": f"{at:016x}",
            "created": datetime.now(UTC),
            **{each: random.random() for each in ("queue_seconds", "run_seconds", "total_seconds")},
        }
        return views.CallInfo(**{**dict.fromkeys(views.CallInfo.__struct_fields__, ""), **said})  # type: ignore[arg-type]


class Callers:
    """Everybody is shown the same."""

    def __init__(self) -> None:
        self._pools = Large()

    async def of(self, *_: object) -> Large:
        return self._pools

    of_token = of


async def rows() -> list[Row]:
    """Serve it in this process, and look at it."""
    gateway: Any = Gateway(None, Callers(), Settings())  # type: ignore[arg-type]
    config = uvicorn.Config(Starlette(routes=console.routes(gateway)), port=0, http="httptools", log_config=None)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())  # noqa: SLF001  # `serve` takes the process's signals
    while not server.started:
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    found = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, path in PAGES.items():
            painted = await _paint(browser, url + path)
            what = f"console: first paint of {name}, {WORKERS} workers and {SESSIONS} sessions"
            found.append(Row(what=what, figure=painted, unit="s", value=painted, target=Target("<", 1, "s")))
        await browser.close()
    for readers in (1, READERS):
        sent, cpu = await _watched(url, readers)
        worst = max(sent) / SECONDS / 1024
        note = f"{readers} readers: {100 * cpu / SECONDS:.0f} % of a core, readers included"
        what = f"console: sent to each of {readers} who watch the pool"
        found.append(Row(what=what, figure=worst, unit="KiB/s", value=worst, target=Target("<", 50, "KiB/s"), note=note))
    gateway.leaving.set()
    server.should_exit = True
    await task
    return found


async def _paint(browser: Browser, url: str) -> float:
    """Seconds from the click to the first contentful paint: the median of five."""
    times = []
    for _ in range(5):
        page = await browser.new_page()
        await page.goto(url)
        times.append(await page.evaluate(_PAINTED))
        await page.close()
    return sorted(times)[2] / 1000


async def _watched(url: str, readers: int) -> tuple[list[int], float]:
    """Bytes that each reader was sent, and the server's CPU seconds; readers cost some of them."""
    began = time.process_time()
    sent = await asyncio.gather(*(_read(f"{url}{PAGES['pool']}?live=1") for _ in range(readers)))
    return sent, time.process_time() - began


async def _read(url: str) -> int:
    found = 0
    async with httpx.AsyncClient(timeout=30) as client, client.stream("GET", url) as answer:
        try:
            async with asyncio.timeout(SECONDS):
                async for data in answer.aiter_raw():
                    found += len(data)
        except TimeoutError:
            pass
    return found
