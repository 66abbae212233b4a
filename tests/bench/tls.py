"""What TLS costs: calls over lanes, large payloads and streams over bulk lanes, with it against without, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import snakepit
from tests.bench.direct import CHUNK_BYTES, CHUNKS
from tests.bench.large import CALLERS, MIB, mib_per_second
from tests.bench.plane import plane
from tests.bench.rounds import TEXT, chosen, closed_loop, interleave, median
from tests.bench.rows import Row, Target
from tests.support.authority import Authority

SMALL, LARGE, STREAM = Target("≥", 0.85), Target("≥", 0.5), Target("≥", 0.5)

Sides = dict[str, Callable[[], Awaitable[float]]]


async def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder) / "ca")
        files = authority.files()
        tls = {
            "SNAKEPIT_TLS_CERT_FILE": str(files.certificate),
            "SNAKEPIT_TLS_KEY_FILE": str(files.key),
            "SNAKEPIT_CA_FILE": str(authority.ca_file),
        }
        async with plane(environment={"SNAKEPIT_CA_FILE": "off"}) as (_, plain), plane(environment=tls) as (_, secured):
            pools = {"without": plain, "with": secured}
            found = []
            for callers in chosen((16, 64, 256)):
                sides: Sides = {name: partial(_calls, pool, callers) for name, pool in pools.items()}
                found.append(_row(f"calls/s with TLS, {callers} callers", "/s", await interleave(f"TLS, {callers} callers", sides), SMALL))
            sides = {name: partial(_echo, pool) for name, pool in pools.items()}
            what = f"MiB/s with TLS, 1 MiB in and out, {CALLERS} callers"
            found.append(_row(what, "MiB/s", await interleave("TLS, 1 MiB in and out", sides), LARGE))
            sides = {name: partial(mib_per_second, partial(_stream, pool)) for name, pool in pools.items()}
            what = f"MiB/s with TLS of a stream of {CHUNKS * CHUNK_BYTES // MIB} MiB"
            found.append(_row(what, "MiB/s", await interleave("TLS, 64 MiB streamed", sides), STREAM))
    return found


async def _calls(pool: snakepit.Pool, callers: int) -> float:
    return (await closed_loop(partial(pool.call, "echo", {"text": TEXT}, timeout=30), callers)).per_second


async def _echo(pool: snakepit.Pool) -> float:
    return 2 * (await closed_loop(partial(pool.call, "mirror", {"data": bytes(MIB)}, timeout=30), CALLERS)).per_second


async def _stream(pool: snakepit.Pool) -> int:
    return sum([len(chunk) async for chunk in pool.stream("pour", {"chunks": CHUNKS, "size": CHUNK_BYTES}, timeout=60)])


def _row(what: str, unit: str, rounds: list[dict[str, float]], target: Target) -> Row:
    return Row(
        what=what,
        figure=median(each["with"] for each in rounds),
        unit=unit,
        baseline=median(each["without"] for each in rounds),
        against="without TLS",
        value=median(each["with"] / each["without"] for each in rounds),
        target=target,
    )
