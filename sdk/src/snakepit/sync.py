"""The caller's side without `await`: the same objects, run on an event loop in a thread of their own.

`Client`, and the pools, sessions and streams that it gives, have the methods of `snakepit.client`; coroutine methods block, async
iterators are plain iterators, `async with` is `with`. Nothing is written twice: each object stands before its asynchronous twin.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Literal, Self, TypeVar, cast

from snakepit import client as aio
from snakepit._values import payload_warnings as warned
from snakepit.client.local_errors import of_another_process
from snakepit.errors import SnakepitError, Started

T = TypeVar("T")

FAREWELL_SECONDS = 1.0

_WRAPPED = (aio.AsCaller, aio.Offer, aio.Pool, aio.Session, aio.State, aio.Stream)


class Facade:
    """Stands before one asynchronous object; attributes that are objects of ours come with a façade of their own."""

    def __init__(self, behind: Any, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._behind = behind
        self._run = run

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            found = getattr(self._behind, name)
        except AttributeError:
            raise AttributeError(f"snakepit.sync.{type(self).__name__} has no {name!r}", name=name, obj=self) from None
        return self._blocking(found) if callable(found) else self._front(found)

    def __repr__(self) -> str:
        return f"snakepit.sync.{self._behind!r}"

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._behind) if not name.startswith("_")]

    def _front(self, value: Any) -> Any:
        if inspect.isasyncgen(value):
            return iter(Facade(value, self._run))
        return _FRONTS.get(type(value), Facade)(value, self._run) if isinstance(value, _WRAPPED) else value

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            result = method(*arguments, **keywords)
            return self._run(result) if inspect.iscoroutine(result) else self._front(result)

        return call

    def __enter__(self) -> Self:
        self._run(self._behind.__aenter__())
        return self

    def __exit__(self, *raised: Any) -> None:
        self._run(self._behind.__aexit__(*raised))

    def __iter__(self) -> Iterator[Any]:
        process = os.getpid()
        try:
            while True:
                try:
                    chunk = self._run(self._behind.__anext__())
                except StopAsyncIteration:
                    return
                yield chunk
        finally:
            if os.getpid() == process:  # In a forked child the stream is the parent's.
                self._run(self._behind.aclose())


class Calls(Facade):
    """Before a pool or a session."""

    def typed(self, tools: type[T], **options: Any) -> T:
        """As `snakepit.Pool.typed`; of an Adapter class, with tools that are not `async`."""
        return cast(T, _Typed(self._behind.typed(tools, **options), self._run))


class _Typed(Facade):
    def __getattr__(self, name: str) -> Any:
        return self._blocking(getattr(self._behind, name))


class Session(Calls):
    """`snakepit.Session` without `await`."""


class Pool(Calls):
    """`snakepit.Pool` without `await`."""

    def session(self, *arguments: Any, **keywords: Any) -> Session:
        """As `snakepit.Pool.session`."""
        return Session(self._behind.session(*arguments, **keywords), self._run)


_FRONTS: dict[type[Any], type[Facade]] = {aio.Pool: Pool, aio.Session: Session}


class _Behind(aio.Client):
    _OPENED_BY = "with snakepit.sync.Client(...) as client"


class Client(Facade):
    """`snakepit.Client` without `await`; may be used from several threads. Arguments as there."""

    def __init__(
        self,
        server: str | None = None,
        *,
        token_file: str | os.PathLike[str] | None = None,
        connect_timeout: float = 5.0,
        lanes: bool | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        tls_server_name: str | None = None,
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        behind = _Behind(
            server,
            token_file=token_file,
            connect_timeout=connect_timeout,
            lanes=lanes,
            ca_file=ca_file,
            tls_server_name=tls_server_name,
        )
        super().__init__(behind, self._run_in_loop)

    def pool(self, name: str, *, payload: Literal["json", "msgpack", "pickle"] = "json", attachments: bool = False) -> Pool:
        """As `snakepit.Client.pool`."""
        return Pool(self._behind.pool(name, payload=payload, attachments=attachments), self._run)

    def __enter__(self) -> Self:
        self._loop = loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=loop.run_forever, name="snakepit client", daemon=True)
        self._thread.start()
        try:
            return super().__enter__()
        except BaseException:
            self._stop()
            raise

    def __exit__(self, *raised: Any) -> None:
        if os.getpid() != self._pid:
            return  # A forked child: loop, thread and links are the parent's.
        try:
            super().__exit__(*raised)
        finally:
            self._stop()

    def _stop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_others(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _run_in_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is None:
            work.close()
            raise SnakepitError(f"the client is not open: use it inside `{_Behind._OPENED_BY}`", started=Started.NO)
        if os.getpid() != self._pid:
            work.close()
            raise of_another_process(self._pid)
        asked = warned.caller.set(warned.place())
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        warned.caller.reset(asked)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C in the waiting thread must cancel the call, not leave it running.
            future.cancel()
            raise


async def _others() -> None:
    """What gRPC has begun ends by itself: a loop that stopped before would complain of it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=FAREWELL_SECONDS)
