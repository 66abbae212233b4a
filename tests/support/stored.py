"""What tests of stores write to them, and waiting for what expires there."""

from __future__ import annotations

import asyncio

from snakepit.errors import SessionNotFound
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.store.interface import Store

POOL = "default/test"
LIMITS = SessionSpec(max_keys=3, max_value_bytes=10, max_bytes=25)


def wanted(name: str = "s", pool: str = POOL) -> SessionRecord:
    """A session on a server that the test has for itself."""
    return SessionRecord(pool, name, "uid", 0.0, 0.0, 60.0, 1)


def named(pool: str, name: str, ttl_seconds: float = 60.0) -> SessionRecord:
    """A session of a pool of the test's own, in a store that others use as well."""
    return SessionRecord(pool, name, f"uid-{name}", 0.0, 0.0, ttl_seconds, 1, metadata={"owner": "me"})


def value(data: bytes) -> common_pb2.Payload:
    return common_pb2.Payload(content_type="application/json", data=data)


async def gone(store: Store, pool: str, name: str) -> bool:
    try:
        await store.get_session(pool, name)
    except SessionNotFound:
        return True
    return False


async def until_gone(store: Store, pool: str, name: str) -> None:
    async with asyncio.timeout(20):
        while not await gone(store, pool, name):
            await asyncio.sleep(0.02)


async def until(store: Store, *, ready: bool, seconds: float = 10) -> None:
    """Until it is known whether the store can be used."""
    async with asyncio.timeout(seconds):
        while bool(store.problem) is ready:
            await asyncio.sleep(0.02)
