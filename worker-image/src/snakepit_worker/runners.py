"""The two profiles: `process` runs one tool at a time in the main thread, `thread` several at once."""

from __future__ import annotations

import concurrent.futures
import contextvars
import errno
import inspect
import logging
import os
import select
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from snakepit.author.context import Interrupted
from snakepit_worker.exits import leave
from snakepit_worker.interrupts import Interrupts, ThreadInterrupts
from snakepit_worker.logs import task_call
from snakepit_worker.running import RunningCall

if TYPE_CHECKING:
    # Half of what a zygote without async tools would have to import: it comes with the first coroutine.
    import asyncio

logger = logging.getLogger("snakepit.worker")
T = TypeVar("T")


class MainThreadRunner:
    """Profile `process`: an interrupt raises in the tool's own frame, also out of a blocking system call."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rests = False

    def guarded(self, call: RunningCall, work: Callable[..., T], *arguments: Any) -> T:
        """`work`, so that `interrupt` can end it. Raises Interrupted."""
        if call.reason:
            raise Interrupted(call.reason)
        return self._interrupts.run(call.id, work, *arguments)

    def wait(self, call: RunningCall, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, and nothing beside it but what it has started."""
        import asyncio

        with self._interrupts.shielded:
            loop = self._running_loop()
            context = contextvars.copy_context()
            context.run(task_call.set, call.frame)
            task = loop.create_task(coroutine, context=context)
            call.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            if call.reason:
                task.cancel()
            try:
                return loop.run_until_complete(task)
            except asyncio.CancelledError as error:
                raise _as_interrupt(call, error) from error
            finally:
                if not task.done():
                    # The tool stopped the loop, or a task of its own ended it: what is left of it must not run in the next call.
                    task.cancel()
                    loop.run_until_complete(asyncio.wait([task]))
                call.cancel = None

    def interrupt(self, call: RunningCall) -> None:
        """Raise in the tool's own frame. From any thread."""
        self._interrupts.interrupt(call.id, call.reason)

    def hook(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run an adapter's hook, async or not."""
        result = function(*arguments)
        if not inspect.iscoroutine(result):
            return result
        with self._interrupts.shielded:
            return self._running_loop().run_until_complete(result)

    def rest(self, poll: select.poll, wakers: tuple[int, int]) -> None:
        """Between calls, until one of the descriptors has something. Tasks that a hook or a tool has left in the loop run meanwhile."""
        loop = self._loop
        if loop is None or loop.is_closed() or not _has_tasks(loop):
            _wait(poll)
            return
        here = os.getpid()
        for each in wakers:
            loop.add_reader(each, loop.stop)
        self._rests = True
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            if os.getpid() != here:
                leave(error)
            logger.warning("%s in a task stopped the event loop, which goes on", type(error).__name__)
        finally:
            self._rests = False
            if os.getpid() == here and not loop.is_closed():
                for each in wakers:
                    loop.remove_reader(each)
        if os.getpid() != here:
            leave(None)

    def disown(self) -> None:
        """In a child that the author forked. One that a task did has no loop of its own: that is its parent's."""
        if self._rests and self._loop is not None:
            self._loop.stop()

    def close(self) -> None:
        """The worker ends: close the loop."""
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop


class ThreadRunner:
    """Profile `thread`: async tools share one event loop; an interrupt raises in the tool's own frame, but not out of what waits in C."""

    def __init__(self, interrupts: ThreadInterrupts) -> None:
        self._interrupts = interrupts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._lock = threading.Lock()

    def guarded(self, call: RunningCall, work: Callable[..., T], *arguments: Any) -> T:
        """`work`, so that `interrupt` can end it. Raises Interrupted."""
        return self._interrupts.run(call, work, *arguments)

    def wait(self, call: RunningCall, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, in the loop that all share."""
        import asyncio

        with self._interrupts.shielded:
            future, call.cancel = _submit(_alone(coroutine), self._running_loop(), call)
            if call.reason:  # It came while there was no way yet to cancel what runs already.
                call.cancel()
            try:
                return future.result()
            except asyncio.CancelledError as error:
                raise _as_interrupt(call, error) from error
            finally:
                call.cancel = None

    def interrupt(self, call: RunningCall) -> None:
        """Raise in the tool's own frame at its next step of Python. From any thread."""
        self._interrupts.interrupt(call)

    def hook(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run an adapter's hook, async or not."""
        result = function(*arguments)
        if not inspect.iscoroutine(result):
            return result
        import asyncio

        return asyncio.run_coroutine_threadsafe(_alone(result), self._running_loop()).result()

    def rest(self, poll: select.poll, wakers: tuple[int, int]) -> None:
        """Between calls, in each slot. The loop has a thread of its own."""
        _wait(poll)

    def disown(self) -> None:
        """In a child that the author forked: `_alone` sees to its end."""

    def close(self) -> None:
        """The worker ends: close the loop, and join its thread."""
        if self._loop is not None and self._thread is not None:
            self._closing = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run_loop, args=(self._loop,), name="snakepit-async", daemon=True)
                self._thread.start()
            return self._loop

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until it is closed, though a tool stops it, or raises what ends it: other calls run there too."""
        while not self._closing:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:  # not swallowed: a call that raised it has it
                logger.warning("%s in a coroutine stopped the event loop, which goes on", type(error).__name__)


def _has_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    import asyncio

    return bool(asyncio.all_tasks(loop))


def _wait(poll: select.poll) -> None:
    """Until one of them has something, or is no descriptor any more."""
    if any(happened & select.POLLNVAL for _, happened in poll.poll()):
        raise OSError(errno.EBADF, "a descriptor of the worker's own was closed")


async def _alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """A process that it forks ends where it does: there nobody waits for the outcome, and the loop would take its parent's events."""
    here = os.getpid()
    try:
        return await coroutine
    except BaseException as error:
        if os.getpid() != here:
            leave(error)
        raise
    finally:
        if os.getpid() != here:
            leave(None)


def _submit(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop, call: RunningCall
) -> tuple[concurrent.futures.Future[Any], Callable[[], object]]:
    """Run it in another thread's loop: its outcome, and how to cancel it. Unlike `run_coroutine_threadsafe`, a cancelled one has an outcome
    only when it has ended: its slot is taken until then."""
    import asyncio

    outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()
    tasks: list[asyncio.Task[Any]] = []
    is_cancelled = False

    def begin() -> None:
        task = loop.create_task(coroutine)
        tasks.append(task)
        task.add_done_callback(end)
        if call.reason:
            cancel()

    def cancel() -> None:
        """Once: another time would end what the tool does about the first."""
        nonlocal is_cancelled
        if tasks and not is_cancelled:
            is_cancelled = True
            tasks[0].cancel()

    def end(task: asyncio.Task[Any]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            outcome.set_result(task.result())
        else:
            outcome.set_exception(error)

    loop.call_soon_threadsafe(begin)
    return outcome, lambda: loop.call_soon_threadsafe(cancel)


def _as_interrupt(call: RunningCall, error: BaseException) -> BaseException:
    """A cancellation that we asked for is an interruption; the author's own is the tool's error."""
    return Interrupted(call.reason) if call.reason else RuntimeError(f"the tool cancelled itself: {error!r}")
