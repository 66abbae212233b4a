"""Reads what a pool's capsules have logged in a cluster, through `kubectl logs`."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from snakepit._lines import lines_of
from snakepit._names import did_you_mean
from snakepit._telemetry import log_lines
from snakepit._telemetry.log_lines import LogLine, moment
from snakepit.cli.config import Kube
from snakepit.cli.kubectl import asked, program, started
from snakepit.errors import InvalidArguments, PoolNotFound, ServerUnavailable

POOL_LABEL = "snakepit.dev/pool"
AGENT = "snakepit-agent"

MOST_FOLLOWED = 100
"""Capsules: each costs the API server, and its node, a request that stays."""

_NAMES = '{range .items[*]}{.metadata.name}{" "}{.metadata.labels.snakepit\\.dev/pool}{"\\n"}{end}'
_LINE = re.compile(r"\[pod/([^/\]]+)/([^\]]+)\] (\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (.*)", re.DOTALL)
"""The pod, the container, when, and what."""


async def read(kube: Kube, namespace: str, of: str | None, *, follow: bool, tail: int | None) -> AsyncGenerator[LogLine]:
    """Lines as they come, capsule after capsule; with `follow`, of all at once and without an end. `tail`: so many of each container.

    `of`: a pool, a capsule or a worker; None: all pools of the namespace. Raises InvalidArguments, PoolNotFound, ServerUnavailable.
    """
    kubectl = program(kube)
    text, problem = await asked([*kubectl, "get", "pods", "-n", namespace, "-l", POOL_LABEL, "-o", f"jsonpath={_NAMES}"])
    if problem:
        raise ServerUnavailable(f"kubectl can't list the pods of namespace {namespace}: {problem}")
    pools = dict(line.split(" ", 1) for line in text.decode().splitlines() if " " in line)
    which, count = chosen(pools, namespace, of)
    if follow and count > MOST_FOLLOWED:
        raise InvalidArguments(f"--follow takes {MOST_FOLLOWED} capsules at most, and here are {count}: name a pool, or a capsule")
    words = ["logs", "-n", namespace, *which, "--all-containers", "--ignore-errors", "--prefix", "--timestamps"]
    words += [f"--tail={-1 if tail is None else tail}"]
    words += ["--follow", f"--max-log-requests={10 * MOST_FOLLOWED}"] if follow else []
    async with contextlib.aclosing(_lines([*kubectl, *words])) as found:
        async for line in found:
            if (parsed := parse(line, namespace, pools)) is not None:
                yield parsed
            elif line.strip():
                print(f"kubectl: {line}", file=sys.stderr)  # Of a container that it can't read; of others it goes on.


def chosen(pools: dict[str, str], namespace: str, of: str | None) -> tuple[list[str], int]:
    """Words for kubectl, and of how many capsules. `pools`: the pool of each capsule. Raises PoolNotFound."""
    if of is None:
        return ["-l", POOL_LABEL], len(pools)
    name = of.removeprefix(f"{namespace}/")
    if name in pools.values():
        return ["-l", f"{POOL_LABEL}={name}"], list(pools.values()).count(name)
    if (capsule := name.partition("/")[0]) in pools:
        return [capsule], 1
    known: Sequence[str] = sorted({*pools, *pools.values()})
    what = did_you_mean(name, known) or f"there is {', '.join(sorted(set(pools.values()))) or 'none'}"
    raise PoolNotFound(f"namespace {namespace} has no pool with capsules, and no capsule, that is named {name}: {what}")


def parse(line: str, namespace: str, pools: dict[str, str]) -> LogLine | None:
    """A line of `kubectl logs --prefix --timestamps`; None: it is kubectl's own. What isn't ours is a line too, with the node's time."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    pod, container, when, text = found.groups()
    pool = f"{namespace}/{pools[pod]}" if pod in pools else ""
    if (ours := log_lines.decode(text)) is not None:
        return msgspec.structs.replace(ours, pool=ours.pool or pool, capsule=pod)
    at = moment(datetime.fromisoformat(when).timestamp())
    return LogLine(time=at, level="info", component="agent" if container == AGENT else "worker", pool=pool, capsule=pod, message=text)


async def _lines(words: list[str]) -> AsyncGenerator[str]:
    """What kubectl prints. Raises ServerUnavailable where it ends with an error."""
    async with started(words) as kubectl:
        async for line in lines_of(kubectl.output):
            kubectl.hush()
            yield line
        if code := await kubectl.process.wait():
            raise ServerUnavailable(f"kubectl can't read the logs: {await kubectl.last() or f'status {code}'}")
