"""The order in which the doctor looks: the way to the control plane, what its replicas say of themselves, and each pool.

Every look has a time-out, and what can't be looked at is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable
from time import time as now

import msgspec

from snakepit import __version__
from snakepit._tasks import ask_each
from snakepit.cli.config import Kube
from snakepit.cli.doctor import pools as of_pools
from snakepit.cli.doctor import probes, way
from snakepit.cli.doctor.cluster import not_heard, of_cluster
from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.facts import Token, Way
from snakepit.cli.doctor.kubernetes import Look
from snakepit.cli.doctor.replicas import CONTROL_PLANE, Heard, of_replicas, without_lanes
from snakepit.cli.kubectl import program
from snakepit.cli.reach import Reach
from snakepit.cli.release import chosen, services
from snakepit.cli.target import Target
from snakepit.client import Client
from snakepit.client.findings import Finding
from snakepit.errors import InvalidArguments, PoolNotFound, ServerUnavailable, SnakepitError

AT_ONCE = 16
"""Pools that are looked at at one time."""

POOLS_SECONDS = 60.0
"""For all of them."""


class Report(msgspec.Struct, frozen=True):
    """What was found. `pools`: how many were looked at; None: none could be. `replicas`: how many have said how they are."""

    findings: list[Finding]
    pools: int | None = None
    replicas: int = 0


async def examine(target: Target, pool: str | None) -> Report:
    """Walk from here to the pools, or to one of them, and say what is wrong. Raises InvalidArguments where nobody can know which."""
    if target.kube is not None:
        return await _in_cluster(target, target.kube, pool)
    seen = await probes.look_at_way(target.address)
    found = way.of_way(seen)
    if not seen.is_open:
        return Report(found)
    report = await _ask_through(target, pool, seen)
    return Report([*found, *report.findings], report.pools)


async def _in_cluster(target: Target, kube: Kube, pool: str | None) -> Report:
    """By the login of kubectl: what the release's replicas say through its forwards, and what is written of it in the cluster."""
    try:
        kubectl = program(kube)
        service = chosen(await services(kubectl, kube), kube)
    except InvalidArguments:
        raise
    except SnakepitError as error:
        return Report([Finding("cluster", error.reason, error.message)])
    through, seen = await asyncio.gather(_ask_through(target, pool, Way(CONTROL_PLANE)), Look(kubectl, service, kube).at(pool))
    merged = of_pools.merged(through.findings, of_cluster(seen, __version__))
    return Report([*merged, *not_heard(seen, through.replicas)], through.pools)


async def _ask_through(target: Target, pool: str | None, seen: Way) -> Report:
    try:
        async with target.client(Reach()) as made, made as client:
            report = await _ask(client, pool)
            has_tried = target.kube is None and os.environ.get("SNAKEPIT_LANES") != "off"
            lanes = without_lanes(client.links, client.lanes) if has_tried else []
            return msgspec.structs.replace(report, findings=[*report.findings, *lanes])
    except InvalidArguments:
        raise
    except SnakepitError as error:
        if isinstance(error, ServerUnavailable) and target.kube is None:
            seen = await probes.look_who_answers(seen)
        token = probes.read_token(target.token_file) if target.kube is None else Token()
        return Report(way.of_refusal(error, seen, token, now()))


async def _ask(client: Client, pool: str | None) -> Report:
    """Raises SnakepitError where nobody answers, or the caller isn't let in."""
    caller = await client.whoami()
    found, heard = await _replicas(client)
    if pool is not None:
        return Report([*found, *await _one(client, pool, caller.subject)], 1, heard)
    try:
        infos = await client.pools()
    except SnakepitError as error:
        return Report([*found, Finding("pools", error.reason, error.message)], replicas=heard)
    if not infos:
        return Report([*found, of_pools.none_seen(caller.subject)], 0, heard)
    return Report([*found, *await _each(client, [info.name for info in infos])], len(infos), heard)


async def _each(client: Client, names: list[str]) -> list[Finding]:
    """Of all pools, as far as there is time."""
    seen: dict[str, list[Finding]] = {}

    async def look(name: str) -> None:
        seen[name] = await _or_said(name, _pool(client, name))

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POOLS_SECONDS):
            await ask_each(names, look, at_once=AT_ONCE)
    found = [finding for name in names for finding in seen.get(name, ())]
    late = len(names) - len(seen)
    return [*found, *([of_pools.too_many(late, len(names), POOLS_SECONDS)] if late else [])]


async def _replicas(client: Client) -> tuple[list[Finding], int]:
    """What is wrong with them, and how many have answered."""
    asked = now()
    try:
        said = await client.replicas()
    except SnakepitError as error:
        told = f"the control plane doesn't say how it is, perhaps as it is older than this program ({error.message})"
        unseen = f"{told}: its store, versions and clocks were not looked at"
        return [Finding(CONTROL_PLANE, Code.NOT_LOOKED_AT, unseen, severity="note")], 0
    return of_replicas(Heard(said, said.missing, asked, now()), __version__), len(said)


async def _one(client: Client, name: str, subject: str) -> list[Finding]:
    """Of the pool that was named: also what is as somebody wished it."""
    try:
        info, spec = await client.pool(name).info(), await client.pool(name).spec()
        rights = of_pools.may_not_call(name, subject, await client.pool(name).rights())
    except PoolNotFound:
        return [of_pools.unknown(name, [each.name for each in await client.pools()])]
    except SnakepitError as error:
        return [Finding(name, error.reason, error.message)]
    return [*rights, *of_pools.at_zero(info, spec), *await _or_said(name, _pool(client, name))]


async def _pool(client: Client, name: str) -> list[Finding]:
    # Both at one time: a worker that has just started would else be missed by the one or the other.
    info, workers = await asyncio.gather(client.pool(name).info(), client.pool(name).workers())
    return of_pools.of_fleet(info, workers)


async def _or_said(name: str, looking: Awaitable[list[Finding]]) -> list[Finding]:
    """What is found; a pool that has gone meanwhile is nothing wrong, and whatever else refuses is said."""
    try:
        return await looking
    except PoolNotFound:
        return []
    except SnakepitError as error:
        return [Finding(name, error.reason, error.message)]
