"""A pool as its callers see it: calls, sessions, and what is known about its tools and workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from snakepit._names import new_id, parse_pool, pool_name
from snakepit.client import codec, requests, views
from snakepit.client.call_lists import find_call, list_calls
from snakepit.client.calls import Calls
from snakepit.client.connection import Connection
from snakepit.client.history import PoolHistory, pool_history
from snakepit.client.session import Session
from snakepit.v1 import access_pb2, call_pb2, pool_pb2, session_pb2, tool_pb2

PAGE = 1000


class Pool(Calls):
    """A handle: making one asks nothing of the control plane, so a pool that doesn't exist shows at the first call."""

    def __init__(self, connection: Connection, name: str, payload: requests.Encoding = "json", *, attachments: bool = False) -> None:
        self.name = pool_name(*parse_pool(name))
        super().__init__(connection, requests.Target(self.name, content_type=codec.content_type(payload), attached=attachments))

    def __repr__(self) -> str:
        return f"Pool({self.name!r})"

    def session(
        self,
        session_id: str | None = None,
        *,
        affinity: requests.Affinity | None = None,
        ttl_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
        delete: bool = False,
        group: str = "",
    ) -> Session:
        """A session of this pool: `async with` creates it or joins the one that exists; None gives it a random id.

        `affinity` overrides the pool's for this handle's calls; `delete` ends the session on exit. `group`, one of
        your own: a session that this makes is all of that group's, instead of yours alone. Without `async with` the
        handle works on a session that must exist.
        """
        target = msgspec.structs.replace(self._target, session_id=session_id or new_id(), affinity=requests.affinity_value(affinity))
        return Session(self._connection, target, ttl_seconds=ttl_seconds, metadata=metadata, delete=delete, group=group)

    async def info(self) -> views.PoolInfo:
        """How the pool is now, as the control plane sees it. Raises PoolNotFound."""
        request = pool_pb2.GetPoolRequest(pool=self.name)
        reply = await self._connection.ask(request, pool_pb2.GetPoolResponse)
        return views.pool_info(reply.pool)

    async def spec(self) -> dict[str, Any]:
        """What the pool's SnakePool says, with all defaults, as the control plane goes by it: all but image, template and agent."""
        request = pool_pb2.GetPoolRequest(pool=self.name)
        reply = await self._connection.ask(request, pool_pb2.GetPoolResponse)
        return views.parsed(reply.spec)

    async def tools(self) -> list[views.ToolInfo]:
        """The tools on offer now, by name. Raises PoolNotReady where no worker of the pool has been ready yet."""
        request = tool_pb2.ListToolsRequest(pool=self.name)
        reply = await self._connection.ask(request, tool_pb2.ListToolsResponse)
        return [views.tool_info(tool) for tool in reply.tools]

    async def tool(self, name: str) -> views.ToolInfo:
        """One tool. Raises ToolNotFound, with the nearest names, and PoolNotReady as `tools`."""
        request = tool_pb2.GetToolRequest(pool=self.name, tool=name)
        reply = await self._connection.ask(request, tool_pb2.GetToolResponse)
        return views.tool_info(reply.tool)

    async def workers(self) -> list[views.WorkerInfo]:
        """The pool's workers, each in its present life."""
        request = pool_pb2.ListWorkersRequest(pool=self.name)
        reply = await self._connection.ask(request, pool_pb2.ListWorkersResponse)
        return [views.worker_info(worker) for worker in reply.workers]

    async def sessions(self) -> list[views.SessionInfo]:
        """All of the pool's sessions."""
        found, after = await self.session_page(PAGE)
        while after:
            more, after = await self.session_page(PAGE, after)
            found += more
        return found

    async def session_page(self, size: int, after: str = "") -> tuple[list[views.SessionInfo], str]:
        """So many of the pool's sessions, behind what the page before said; and what this one says, empty where it is the last."""
        request = session_pb2.ListSessionsRequest(pool=self.name, page_size=size, page_token=after)
        reply = await self._connection.ask(request, session_pb2.ListSessionsResponse)
        return [views.session_info(session) for session in reply.sessions], reply.next_page_token

    async def rights(self) -> frozenset[str]:
        """What the caller may do here, as "create snakepools/call": docs/security.md has them all. Raises PoolNotFound."""
        request = access_pb2.ListRightsRequest(pool=self.name)
        reply = await self._connection.ask(request, access_pb2.ListRightsResponse)
        return frozenset(reply.rights)

    async def calls(
        self,
        *,
        state: requests.CallState | None = None,
        tool: str | None = None,
        caller: str | None = None,
        session: str | None = None,
        reason: str | None = None,
        slower_than: float | None = None,
        within: str | None = None,
        limit: int = 100,
    ) -> views.CallList:
        """Calls that are open, and of those that ended lately what each replica has kept; the newest first, without `events`.

        Whoever lacks the right `list snakepools/calls` sees its own. `reason`: OK, TOOL_ERROR, what the table of errors has, or the
        class of a tool's exception; `slower_than`: seconds in all; `within`: those that a tool made while it ran the call of this id.
        At most 1000. Raises InvalidArguments.
        """
        return await list_calls(
            self._connection,
            self.name,
            limit,
            state=state,
            tool=tool,
            caller=caller,
            session=session,
            reason=reason,
            slower_than=slower_than,
            within=within,
        )

    async def call_info(self, call_id: str) -> views.CallInfo:
        """One call, with its `events`; of one that was sent again, the latest. Raises CallNotFound where no replica knows of it (any
        more: only so many are remembered)."""
        return await find_call(self._connection, self.name, call_id)

    async def cancel(self, call_id: str) -> bool:
        """Cancel a call, wherever it is; False: it isn't open. One's own, or with the right `delete snakepools/calls` anybody's."""
        request = call_pb2.CancelCallRequest(pool=self.name, call_id=call_id)
        replies, _ = await self._connection.ask_all(request, call_pb2.CancelCallResponse)
        return any(reply.cancelled for reply in replies)

    async def history(self) -> PoolHistory:
        """The pool's last hour by minutes: calls, how they failed, how long they took and waited."""
        request = call_pb2.GetHistoryRequest(pool=self.name)
        replies, missing = await self._connection.ask_all(request, call_pb2.GetHistoryResponse)
        return pool_history(replies, missing)

    async def log_lines(self, worker: str, *, call_id: str = "", limit: int = 100) -> views.LogLines:
        """What a worker (`capsule/index`), or a capsule, has said last, the oldest first; with `call_id`, during that call.

        Its capsule keeps 256 KiB of lines: for more, ask your cluster. It takes the right to `get pods/log` of its pod. Raises
        PermissionDenied, and InvalidArguments where no such capsule is linked.
        """
        capsule, _, index = worker.rpartition("/")
        of_worker = {"capsule": capsule, "worker": worker} if index.isdecimal() and capsule else {"capsule": worker}
        request = pool_pb2.ListLogLinesRequest(pool=self.name, **of_worker, call_id=call_id, limit=limit)
        return views.log_lines(await self._connection.ask(request, pool_pb2.ListLogLinesResponse))

    async def drain_worker(self, worker: str) -> None:
        """Send the worker no new calls; it ends when its running calls have, and a fresh one starts in its place."""
        request = pool_pb2.DrainWorkerRequest(pool=self.name, worker=worker)
        await self._connection.ask(request, pool_pb2.DrainWorkerResponse)

    async def recycle_worker(self, worker: str) -> None:
        """Replace the worker: when its successor is ready, it gets no new calls, and ends when it has finished its own."""
        request = pool_pb2.RecycleWorkerRequest(pool=self.name, worker=worker)
        await self._connection.ask(request, pool_pb2.RecycleWorkerResponse, safe=False)
