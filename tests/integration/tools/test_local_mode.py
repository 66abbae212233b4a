"""`snakepit dev` as a person runs it: tools both ways, in one trace."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from support.dev_server import TESTS, dev, pool_file, ready_dev
from support.eventually import eventually
from support.nesting import ASKING
from support.otlp import receiving

PROGRAM = """
import asyncio, sys, snakepit
from snakepit._telemetry import tracing

def shout(text: str) -> str:
    return text.upper()

async def main() -> None:
    async with snakepit.Client(sys.argv[1]) as client:
        pool = client.pool("asking")
        async with pool.session(delete=True) as session, client.offer(shout, session=session):
            assert await session.call("ask", {"name": "shout", "arguments": {"text": "hey"}}, timeout=20) == "HEY"
            assert await session.call("ask", {"name": "count", "arguments": {"to": 2}}, timeout=20) == [0, 1]
    tracing.shutdown()

asyncio.run(main())
"""


async def test_one_trace_leads_through_the_tool_to_what_it_called(tmp_path: Path) -> None:
    async with receiving() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        with dev(pool_file(tmp_path, "asking", ASKING, replicas="1", worker="processes: 2"), **variables) as server:
            await asyncio.to_thread(server.is_ready)
            program = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, server.server, env={**os.environ, **variables}, stderr=asyncio.subprocess.PIPE
            )
            _, errors = await program.communicate()
            assert program.returncode == 0, errors.decode()
            await receiver.until({"tool shout", "tool count", "ask shout", "route count"})
            of_both = ("call ask", "route ask", "tool ask")
            await eventually(lambda: all(len(receiver.named(name)) == 2 for name in of_both), "those of both calls are there")
    spans = {span.span_id: span for _, span in receiver.spans}

    def path(name: str) -> list[str]:
        at = next(span for span in spans.values() if span.name == name)
        names = []
        while at is not None:
            names.append(at.name)
            at = spans.get(at.parent_span_id)  # type: ignore[assignment]
        return names

    around = ["tool ask", "route ask", "call ask"]
    assert path("tool shout") == ["tool shout", "ask shout", *around]
    assert path("tool count") == ["tool count", "route count", *around]
    assert len({span.trace_id for _, span in receiver.spans if "ask" in span.name}) == 2, "one trace for each of the two calls"


def test_the_example_asks_whoever_has_ordered() -> None:
    examples = Path(__file__).resolve().parents[3] / "examples/shop"
    with ready_dev(examples / "pool.yaml") as server:
        for answer, said in (("y", "tea is on its way"), ("n", "not bought")):
            buyer = subprocess.run(
                [sys.executable, examples / "buy.py", "tea"],
                env={**os.environ, "SNAKEPIT_SERVER": server.server},
                input=answer,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert buyer.stdout.strip() == f"Buy tea? [y/n] {said}"
        alone = subprocess.run(
            [sys.executable, "-m", "snakepit.cli", "call", "shop", "order", "item=tea", "--server", server.server],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert "nobody is there to ask" in alone.stdout
