"""One trace from the client's call to the tool, over OTLP, as the standard variables say; without them, nothing of its SDK is loaded."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.otlp import receiving
from support.ports import free_port

SNAKEPIT = str(Path(sys.executable).with_name("snakepit"))
ADAPTER = Path(__file__).resolve().parents[2] / "bench/echo.py"

POOL = """
apiVersion: snakepit.dev/v1alpha1
kind: SnakePool
metadata: {name: echo}
spec: {replicas: 1, worker: {adapter: "echo:Echo"}}
"""


@asynccontextmanager
async def dev(folder: Path, port: int, environment: dict[str, str]) -> AsyncIterator[None]:
    shutil.copy(ADAPTER, folder)
    pool = folder / "pool.yaml"
    pool.write_text(POOL)
    process = await asyncio.create_subprocess_exec(SNAKEPIT, "dev", str(pool), "--listen", f"127.0.0.1:{port}", env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await process.wait()


async def call_until_served(port: int, environment: dict[str, str]) -> None:
    """The command line as a caller; the pool may not be ready at first."""
    async with asyncio.timeout(40):
        while True:
            argv = ("call", "default/echo", "echo", "text=hello", "--server", f"127.0.0.1:{port}")
            caller = await asyncio.create_subprocess_exec(SNAKEPIT, *argv, env=environment)
            if await caller.wait() == 0:
                return


async def test_one_trace_leads_from_the_clients_call_through_router_and_agent_to_the_tool(tmp_path: Path) -> None:
    async with receiving() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        environment = {**os.environ, **variables}
        port = free_port()
        async with dev(tmp_path, port, environment):
            await call_until_served(port, environment)
            spans = await receiver.until({"call ", "route ", "tool "})
    served = spans["tool "].trace_id
    chain = {s.span_id: s for _, s in receiver.spans if s.trace_id == served}
    path, at = [], next(s for s in chain.values() if s.name.startswith("tool "))
    while at is not None:
        path.append(at.name.split()[0])
        at = chain.get(at.parent_span_id)
    assert path == ["tool", "route", "call"]
    services = {service for service, s in receiver.spans if s.trace_id == served}
    assert len(services) >= 3, services


async def test_without_the_variables_no_process_loads_the_opentelemetry_sdk() -> None:
    modules = "sys, snakepit.client, snakepit_agent.main, snakepit_control_plane.main"
    code = f"import {modules}; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert output.decode().strip() == "[]"
