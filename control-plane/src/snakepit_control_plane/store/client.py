"""What is asked of Redis: everything of one turn of the event loop as one pipeline, and a store that is away fails at once.

It knows scripts and commands, not sessions, and no Redis client either. Nothing that may have happened is asked again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakepit.errors import StoreUnavailable
from snakepit_control_plane.store.connection import ANSWER_SECONDS, CONNECT_SECONDS, Away, Connection, Full, Missing, NotServing

PROBE_SECONDS = 0.5
REACH_SECONDS = 5.0
"""Finding out who serves may take several attempts to connect: Sentinels and nodes of a cluster that are gone."""

BATCH = 512
BATCH_BYTES = 16 * 2**20
MOST_QUEUED = 100_000
MOST_QUEUED_BYTES = 256 * 2**20

_NOT_YET = "it has not been reached yet"
_SCRIPTS = Path(__file__).parent / "lua"

log = logging.getLogger(__name__)


Measured = Callable[[str, float | None], None]
"""Is told of each operation how many seconds its answer took; None: it failed."""


def _unmeasured(operation: str, seconds: float | None) -> None:
    """Nobody wants to know."""


class Unanswered(StoreUnavailable):
    """The operation was sent, and may have been carried out."""


@dataclass(slots=True)
class _Question:
    operation: str
    command: tuple[Any, ...]
    asked_at: float
    answer: asyncio.Future[Any]
    size: int
    repeated: bool = False


class RedisClient:
    """One pipeline at a time. `away`: why nothing can be asked; `full`: why nothing can be written. Both empty while all is well.

    `returns`: so many times it has been reached after it was away.
    """

    def __init__(self, connection: Connection) -> None:
        self.away = _NOT_YET
        self.full = ""
        self.returns = 0
        self.measured: Measured = _unmeasured
        self._connection = connection
        self._scripts = load_scripts()
        self._queue: list[_Question] = []
        self._queued_bytes = 0
        self._flusher: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def problem(self) -> str:
        """Why the store can't be used now; empty when it can."""
        return self.away or self.full

    async def start(self) -> None:
        """Try to reach the store once; if that fails, go on trying in the background."""
        await self._probe()
        self._prober = asyncio.create_task(self._probe_forever(), name="store probe")

    async def close(self) -> None:
        """What was not answered fails, and connections end."""
        # Until Python 3.12, `asyncio.wait_for`, with which redis-py sends, swallows a cancellation that comes as the sending ends.
        self._closing = True
        tasks = [task for task in (self._prober, self._flusher) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._give_up("the control plane stops")
        await self._connection.close()

    async def script(self, name: str, keys: list[str], *arguments: Any) -> Any:
        """Run a script; its reply. Raises StoreUnavailable."""
        return await self._put(name, ("EVALSHA", self._scripts[name].sha, len(keys), *keys, *arguments))

    async def scripts(self, name: str, each: Iterable[tuple[list[str], tuple[Any, ...]]]) -> list[Any]:
        """Run a script with each of these keys and arguments, in one pipeline. Raises StoreUnavailable."""
        sha = self._scripts[name].sha
        return await asyncio.gather(*[self._put(name, ("EVALSHA", sha, len(keys), *keys, *arguments)) for keys, arguments in each])

    def ask(self, *command: Any) -> asyncio.Future[Any]:
        """Send a command with all others of this turn. The future, and the call itself, raise StoreUnavailable."""
        return self._put(command[0].lower(), command)

    def _put(self, operation: str, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        if self.away:
            raise self._unavailable(operation, f"the session store is away: {self.away}")
        if len(self._queue) >= MOST_QUEUED or self._queued_bytes >= MOST_QUEUED_BYTES:
            raise self._unavailable(operation, "too many operations wait for the session store")
        size = sum([len(each) for each in command if type(each) is bytes])
        question = _Question(operation, command, time.monotonic(), asyncio.get_running_loop().create_future(), size)
        self._queue.append(question)
        self._queued_bytes += size
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="store pipeline")
        return question.answer

    def _unavailable(self, operation: str, why: str) -> StoreUnavailable:
        self.measured(operation, None)
        return StoreUnavailable(why)

    async def _flush(self) -> None:
        while self._queue:
            batch = self._next_batch()
            try:
                forgotten = bool(batch) and await self._ask(batch)
            except (Away, TimeoutError) as error:
                self._lost(str(error) or f"no answer within {ANSWER_SECONDS + CONNECT_SECONDS:g} s")
                self._fail(batch, Unanswered(f"the session store is away: {self.away}"))
            except Exception as error:
                self._failed(error)
                self._fail(batch, Unanswered(f"the session store is away: {self.away}"))
            except asyncio.CancelledError:
                self._fail(batch, Unanswered("the session store is away: the control plane stops"))
                raise
            else:
                if forgotten:
                    await self._probe()
            if self.away:
                self._give_up(self.away)

    def _next_batch(self) -> list[_Question]:
        size = count = 0
        for question in self._queue[:BATCH]:
            size += question.size
            count += 1
            if size >= BATCH_BYTES:
                break
        batch, self._queue = self._queue[:count], self._queue[count:]
        self._queued_bytes -= size
        return [question for question in batch if not question.answer.done()]

    async def _ask(self, batch: list[_Question]) -> bool:
        """True: the server has forgotten scripts. Raises Away, TimeoutError."""
        async with asyncio.timeout(ANSWER_SECONDS + CONNECT_SECONDS):
            answers = await self._connection.run([question.command for question in batch])
        now = time.monotonic()
        for question, answer in zip(batch, answers, strict=True):
            if not question.answer.done():
                self._settle(question, answer, now)
        return any(isinstance(answer, Missing) for answer in answers)

    def _settle(self, question: _Question, answer: Any, now: float) -> None:
        if not isinstance(answer, Exception):
            self.measured(question.operation, now - question.asked_at)
            question.answer.set_result(answer)
        elif isinstance(answer, Missing) and not question.repeated:
            # It has not run, so it may be asked again.
            question.repeated = True
            self._queue.append(question)
            self._queued_bytes += question.size
        elif isinstance(answer, Away):
            self._lost(str(answer))
            self._fail([question], Unanswered(f"the session store is away: {answer}"))
        else:
            self._refused(answer)
            self._fail([question], StoreUnavailable(f"the session store refused the operation: {answer}"))

    def _refused(self, answer: Exception) -> None:
        if isinstance(answer, NotServing):
            self._lost(str(answer))
        elif isinstance(answer, Full):
            self._is_full(str(answer))
        else:
            log.error("the session store refused an operation: %s", answer)

    def _give_up(self, why: str) -> None:
        """What was not sent has not happened."""
        queue, self._queue, self._queued_bytes = self._queue, [], 0
        self._fail(queue, StoreUnavailable(f"the session store is away: {why}"))

    def _fail(self, batch: list[_Question], error: StoreUnavailable) -> None:
        for question in batch:
            if not question.answer.done():
                self.measured(question.operation, None)
                question.answer.set_exception(error)

    # ---- is it there?

    def _lost(self, problem: str) -> None:
        if self.away in ("", _NOT_YET):
            log.warning("the session store is away: %s", problem)
        self.away = problem

    def _failed(self, error: Exception) -> None:
        """Nobody has thought of this one. Whoever asked is told, and the store is looked for again, as where it is away."""
        problem = f"{type(error).__name__}: {error}"
        if self.away != problem:
            log.error("the session store's client failed", exc_info=error)
        self._lost(problem)

    def _is_full(self, problem: str) -> None:
        if not self.full:
            log.warning("the session store takes no writes: %s", problem)
        self.full = problem

    async def _probe_forever(self) -> None:
        while not self._closing:
            await asyncio.sleep(PROBE_SECONDS)
            if self.problem:
                await self._probe(afresh=bool(self.away))
            elif await self._connection.moved():
                await self._probe(afresh=True)

    async def _probe(self, *, afresh: bool = False) -> None:
        try:
            async with asyncio.timeout(REACH_SECONDS):
                full = await self._connection.prepare([script.text for script in self._scripts.values()], afresh=afresh)
        except (Away, TimeoutError) as error:
            self._lost(str(error) or f"no answer within {REACH_SECONDS:g} s")
            return
        except Exception as error:
            self._failed(error)
            return
        if full:
            self._is_full(full)
        if self.away or self.full != full:
            log.info("the session store answers%s", " again" if not full else ", but takes no writes")
        self.returns += bool(self.away)
        self.away, self.full = "", full


@dataclass(frozen=True)
class Script:
    """A Lua script, and the hash by which Redis knows it."""

    name: str
    text: str
    sha: str


def load_scripts() -> dict[str, Script]:
    """The scripts in lua/ by their names, each with the prelude before it."""
    prelude = (_SCRIPTS / "prelude.lua").read_text()
    found = {}
    for path in sorted(_SCRIPTS.glob("*.lua")):
        if path.stem != "prelude":
            text = f"{prelude}\n{path.read_text()}"
            found[path.stem] = Script(path.stem, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return found
