"""What an author writes: `Adapter` and `@tool`. It only marks; `tools` reads.

It imports next to nothing: most of an author's modules need no more than this to be imported.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, NamedTuple, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])
MARK = "__snakepit_tool__"
"""The attribute of a function that `@tool` has marked: a `Mark`."""


class AdapterError(Exception):
    """The adapter can't serve; one sentence says why and what to change."""


class Adapter:
    """Base of an author's class. One instance lives in each worker; its public methods marked `@tool` can be called.

    Hooks may be `async`. In the `thread` profile tools run at the same time in several threads: say `thread_safe = True` if they may.
    """

    thread_safe: ClassVar[bool] = False

    def setup(self) -> Awaitable[None] | None:
        """Runs once per worker, before it counts as ready: load models here. An exception here is shown in the pool's status."""

    def teardown(self) -> Awaitable[None] | None:
        """Runs once, when the worker stops in good order."""

    def on_session_start(self, session: Any, /) -> Awaitable[None] | None:
        """Runs before the first call of a session that this worker has not served yet, also when the session has moved here.

        Written as `on_session_start(self, ctx: Context)` it gets that call's context, whose `ctx.state` is the session's; as
        `on_session_start(self, session_id: str)` the session's id.
        """

    def on_session_end(self, session_id: str) -> Awaitable[None] | None:
        """Runs when the session is over for this worker: it was deleted, has expired or has moved."""

    def on_drain(self) -> Awaitable[None] | None:
        """Runs before `teardown`, when no more calls will come."""


class Mark(NamedTuple):
    """What `@tool` says about a function."""

    name: str | None = None
    description: str | None = None
    timeout: float | None = None
    idempotent: bool = False
    title: str = ""
    read_only: bool = False
    destructive: bool | None = None


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    idempotent: bool = False,
    title: str = "",
    read_only: bool = False,
    destructive: bool | None = None,
) -> Callable[[F], F]: ...
def tool(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    idempotent: bool = False,
    title: str = "",
    read_only: bool = False,
    destructive: bool | None = None,
) -> F | Callable[[F], F]:
    """Mark a function or method as a tool; it stays what it was.

    `name` and `description` default to the function's own name and docstring. `timeout`: seconds, when the caller gives none.
    `idempotent`: it may run a second time when nobody can know whether it ran.

    For those who choose among tools, people and models: `title` is what a person reads in place of the name, `read_only` says that it
    changes nothing, `destructive` whether it may destroy something (None: it doesn't say). Nobody checks them.
    """
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout {timeout!r} must be a positive number of seconds")
    if read_only and destructive:
        raise ValueError("a tool with read_only=True changes nothing, so it can't have destructive=True: leave one of them out")

    def annotate(marked: F) -> F:
        target = marked.__func__ if isinstance(marked, (staticmethod, classmethod)) else marked
        setattr(target, MARK, Mark(name, description, timeout, idempotent, title, read_only, destructive))
        return marked

    return annotate if function is None else annotate(function)
