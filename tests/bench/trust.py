"""What it costs to know who calls, and what they may do: calls over lanes, with tokens and rights against without, in turns."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import mean

from snakepit_control_plane.policy.rights import AS_USER, CALL, LOOK
from tests.bench.calls import Metered, Rounds, metered
from tests.bench.plane import POOL, plane
from tests.bench.rounds import TEXT, chosen, interleave, median
from tests.bench.rows import Row, Target
from tests.support.issuer import AUDIENCE, NAME, OPERATOR, pod_claims, public_key, signed
from tests.support.reviewer import reviewer

KNOWN, PASSED_ON = Target("≥", 0.98), Target("≥", 0.85)
CALLER = "system:serviceaccount:shop:web"
SUBJECTS = 256
"""Whose calls a gateway makes, in turn."""
WITHOUT = ("without", "without, again")
"""Programs that are alike differ by some hundredths, for as long as they run: what is smaller is no cost of anything."""


async def rows() -> list[Row]:
    with _environment() as (environment, token_file):
        async with plane() as one, plane() as other, plane(environment=environment, token_file=token_file) as (running, known):
            meters = {name: open_to_all.meter() for name, (open_to_all, _) in zip(WITHOUT, (one, other), strict=True)}
            meters |= {"with": running.meter(), "for others": running.meter()}
            subjects = itertools.cycle([running.client.as_caller(f"caller-{number}").pool(POOL) for number in range(SUBJECTS)])
            ways = {
                **{
                    name: partial(unknown.call, "echo", {"text": TEXT}, timeout=30)
                    for name, (_, unknown) in zip(WITHOUT, (one, other), strict=True)
                },
                "with": partial(known.call, "echo", {"text": TEXT}, timeout=30),
                "for others": lambda: next(subjects).call("echo", {"text": TEXT}, timeout=30),
            }
            # Of a caller that it hears of for the first time, a replica asks two things.
            await asyncio.gather(*[next(subjects).call("echo", {"text": TEXT}, timeout=60) for _ in range(SUBJECTS)])
            found = []
            for callers in chosen((16, 64, 256)):
                sides = {name: partial(metered, meters[name], call, callers) for name, call in ways.items()}
                rounds = await interleave(f"trust, {callers} callers", sides)
                found.append(_row(f"calls/s with tokens and rights, {callers} callers", "with", rounds, KNOWN))
                found.append(_row(f"calls/s of a gateway for {SUBJECTS} subjects, {callers} callers", "for others", rounds, PASSED_ON))
    return found


@contextmanager
def _environment() -> Iterator[tuple[dict[str, str], str]]:
    """Of programs that ask who calls, and the file of a caller's token."""
    with tempfile.TemporaryDirectory() as name, reviewer() as asked:
        folder = Path(name)
        asked.give(CALLER, AS_USER, CALL, LOOK)
        for number in range(SUBJECTS):
            asked.give(f"caller-{number}", CALL)
        (folder / "keys").write_text(json.dumps({"keys": [public_key("one")]}))
        (folder / "agent").write_text(signed(pod_claims("bench-0", POOL, uid="")))
        (folder / "caller").write_text(signed(pod_claims("web-0", "shop/none", aud=[AUDIENCE], sub=CALLER)))
        environment = {
            "SNAKEPIT_AUTH": "required",
            "SNAKEPIT_AUTH_KEYS": str(folder / "keys"),
            "SNAKEPIT_AUTH_AUDIENCE": AUDIENCE,
            "SNAKEPIT_AUTH_OPERATOR": OPERATOR,
            "SNAKEPIT_AUTH_ISSUER": NAME,
            "SNAKEPIT_AUTH_API_SERVER": asked.url,
            "SNAKEPIT_AUTH_TOKEN_FILE": str(folder / "caller"),
            "SNAKEPIT_TOKEN_FILE": str(folder / "agent"),
        }
        yield environment, str(folder / "caller")


def _row(what: str, side: str, rounds: Rounds, target: Target) -> Row:
    without = [mean(each[name].load.per_second for name in WITHOUT) for each in rounds]
    cpu = [(_micros(each[side]), mean(_micros(each[name]) for name in WITHOUT)) for each in rounds]
    alike = median(_micros(each[WITHOUT[1]]) / _micros(each[WITHOUT[0]]) for each in rounds)
    return Row(
        what=what,
        figure=median(each[side].load.per_second for each in rounds),
        unit="/s",
        baseline=median(without),
        against="nobody is asked",
        value=median(each[side].load.per_second / base for each, base in zip(rounds, without, strict=True)),
        target=target,
        note=f"CPU µs a call: {median(ours for ours, _ in cpu):.1f}, {median(ours / base for ours, base in cpu):.3f}x of without; "
        f"the second without: {alike:.3f}x of the first",
    )


def _micros(side: Metered) -> float:
    return sum(side.micros.values())
