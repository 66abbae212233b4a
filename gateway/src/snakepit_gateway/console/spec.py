"""What a pool's file says, beside what it would be if it didn't."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from snakepit.spec import SnakePoolSpec, encode_spec
from snakepit.spec.fields import WorkerSpec
from snakepit_gateway.console.desk import Context, pool_of
from snakepit_gateway.console.pool import head
from snakepit_gateway.console.viewer import Viewer
from snakepit_gateway.console.words import json


class Field(msgspec.Struct, frozen=True):
    """One field of the spec, as JSON; `default` is empty where it has none."""

    path: str
    value: str
    default: str
    differs: bool


def fields(spec: Mapping[str, Any]) -> list[Field]:
    """Every field that is set, those that differ from their defaults first."""
    usual = dict(_flat(msgspec.json.decode(encode_spec(SnakePoolSpec(worker=WorkerSpec(adapter=""))))))
    usual.pop("worker.adapter")
    found = [
        Field(path, json(value), json(usual[path]) if path in usual else "", value != usual.get(path))
        for path, value in _flat(spec)
        if value is not None or usual.get(path) is not None
    ]
    return sorted(found, key=lambda each: not each.differs)


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, each in value.items():
        if isinstance(each, Mapping):
            yield from _flat(each, f"{before}{key}.")
        else:
            yield f"{before}{key}", each


async def gather(viewer: Viewer, request: Request) -> Context:
    """What the page shows."""
    name = pool_of(request)
    top, spec = await asyncio.gather(head(viewer, name), viewer.spec(name))
    return {**top, "fields": fields(spec)}
