"""What clients do with the state of a session. Each operation is counted, and fenced where it matters whose the session is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial

from snakepit._names import check_state_key
from snakepit.errors import SessionNotFound, SnakepitError, StaleEpoch
from snakepit.v1 import common_pb2, session_pb2
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import Fence
from snakepit_control_plane.servers import json_form
from snakepit_control_plane.servers.rpc import convert
from snakepit_control_plane.servers.session_messages import MAX_PAGE, PAGE_BYTES
from snakepit_control_plane.store.interface import Store, StoredKey, StoredValue
from snakepit_control_plane.store.memory import no_session
from snakepit_control_plane.telemetry import Telemetry


class ClientState:
    """Of sessions in `store`, for callers that may have it."""

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store, self._telemetry = store, telemetry

    async def get(self, pool: Pool, request: session_pb2.GetStateRequest, fence: Fence | None) -> session_pb2.GetStateResponse:
        with self._counted(pool, "get", request.session_id):
            stored = await self._store.get_state(pool.name, request.session_id, request.key, fence)
        if stored is None:
            return session_pb2.GetStateResponse()
        value = await _value(stored, as_payload=request.as_payload)
        return session_pb2.GetStateResponse(found=True, version=stored.version, value=value)

    async def put(self, pool: Pool, request: session_pb2.SetStateRequest, fence: Fence | None) -> session_pb2.SetStateResponse:
        expected = request.expected_version if request.HasField("expected_version") else None
        value = await convert(request.value.ByteSize(), partial(json_form.from_value, request.value))
        key = check_state_key(request.key)
        with self._counted(pool, "set", request.session_id):
            written = await self._store.set_state(pool.name, request.session_id, key, value, expected, pool.spec.session, fence)
        return session_pb2.SetStateResponse(written=written.done, version=written.version)

    async def delete(self, pool: Pool, request: session_pb2.DeleteStateRequest, fence: Fence | None) -> session_pb2.DeleteStateResponse:
        with self._counted(pool, "delete", request.session_id):
            deleted = await self._store.delete_state(pool.name, request.session_id, request.key, fence)
        return session_pb2.DeleteStateResponse(deleted=deleted)

    async def keys(self, pool: Pool, request: session_pb2.ListStateRequest, fence: Fence | None) -> session_pb2.ListStateResponse:
        with self._counted(pool, "list", request.session_id):
            keys = await self._store.list_state(pool.name, request.session_id, fence)
            if request.with_values:
                return await self._values(pool.name, request, [each for each in keys if each.key > request.page_token], fence)
        listed = [session_pb2.ListStateResponse.Key(key=k.key, version=k.version, size_bytes=k.size_bytes) for k in keys]
        return session_pb2.ListStateResponse(keys=listed)

    @contextlib.contextmanager
    def _counted(self, pool: Pool, operation: str, session: str) -> Iterator[None]:
        outcome = "CANCELLED"
        try:
            yield
            outcome = "OK"
        except StaleEpoch:
            outcome = SessionNotFound.reason
            raise no_session(pool.name, session) from None
        except SnakepitError as error:
            outcome = error.reason
            raise
        finally:
            self._telemetry.state_operations.add(pool.name, operation, outcome)

    async def _values(
        self, pool: str, request: session_pb2.ListStateRequest, keys: list[StoredKey], fence: Fence | None
    ) -> session_pb2.ListStateResponse:
        """As many of the keys as fit, with their values; one that is deleted meanwhile is left out."""
        page, size = list[str](), 0
        for each in keys:
            size += each.size_bytes
            if page and (size > PAGE_BYTES or len(page) == MAX_PAGE):
                break
            page.append(each.key)
        values = await asyncio.gather(*(self._store.get_state(pool, request.session_id, key, fence) for key in page))
        response = session_pb2.ListStateResponse(next_page_token=page[-1] if len(page) < len(keys) else "")
        for key, stored in zip(page, values, strict=True):
            if stored is not None:
                value = await _value(stored, as_payload=request.as_payload)
                response.keys.add(key=key, version=stored.version, size_bytes=len(stored.value.data), value=value)
        return response


async def _value(stored: StoredValue, *, as_payload: bool) -> common_pb2.Value:
    if as_payload:
        return common_pb2.Value(payload=stored.value)
    return common_pb2.Value(json=await convert(len(stored.value.data), partial(json_form.to_value, stored.value)))
