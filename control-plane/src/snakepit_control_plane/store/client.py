"""The connection to Redis: everything asked in one turn of the event loop goes as one pipeline, and a store that is away fails at once.

The only module that imports redis. It knows scripts and commands, not sessions. Nothing is retried: a write may have happened.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from snakepit.errors import StoreUnavailable
from snakepit_control_plane.store.scripts import load

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 1.0
PROBE_SECONDS = 0.5
BATCH = 512
MOST_QUEUED = 100_000
_NOT_YET = "it has not been reached yet"

log = logging.getLogger(__name__)

_AWAY = (RedisConnectionError, RedisTimeoutError, OSError, asyncio.TimeoutError)


@dataclass
class _Question:
    command: tuple[Any, ...]
    answer: asyncio.Future[Any]
    repeated: bool = False


class RedisClient:
    """One connection, one pipeline at a time. `problem` is empty while the store answers."""

    def __init__(self, url: str) -> None:
        self.problem = _NOT_YET
        self._scripts = load()
        self._redis = Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            single_connection_client=False,
        )
        self._queue: list[_Question] = []
        self._flusher: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Try to reach the store once; if that fails, go on trying in the background."""
        await self._probe()
        self._prober = asyncio.create_task(self._probe_forever(), name="store probe")

    async def close(self) -> None:
        tasks = [task for task in (self._prober, self._flusher) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._give_up(self._queue, "the control plane stops")
        await self._redis.aclose()

    async def script(self, name: str, keys: list[str], *arguments: Any) -> Any:
        """Run a script; its reply. Raises StoreUnavailable."""
        return await self.command("EVALSHA", self._scripts[name].sha, len(keys), *keys, *arguments)

    async def command(self, *command: Any) -> Any:
        """Raises StoreUnavailable."""
        if self.problem:
            raise StoreUnavailable(f"the session store is away: {self.problem}")
        if len(self._queue) >= MOST_QUEUED:
            raise StoreUnavailable("too many operations wait for the session store")
        question = _Question(command, asyncio.get_running_loop().create_future())
        self._queue.append(question)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="store pipeline")
        return await question.answer

    async def _flush(self) -> None:
        while self._queue:
            batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
            try:
                await self._ask([question for question in batch if not question.answer.done()])
            except _AWAY as error:
                self._lost(error)
                self._give_up(batch, self.problem)
            except asyncio.CancelledError:
                self._give_up(batch, "the control plane stops")
                raise

    async def _ask(self, batch: list[_Question]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for question in batch:
            pipeline.execute_command(*question.command)
        async with asyncio.timeout(ANSWER_SECONDS + CONNECT_SECONDS):
            answers = await pipeline.execute(raise_on_error=False)
        missing = any(isinstance(answer, NoScriptError) for answer in answers)
        if missing:
            await self._load_scripts()
        for question, answer in zip(batch, answers, strict=True):
            self._settle(question, answer)

    def _settle(self, question: _Question, answer: Any) -> None:
        if question.answer.done():
            return
        if isinstance(answer, NoScriptError) and not question.repeated:
            # It has not run, so it may be asked again.
            question.repeated = True
            self._queue.append(question)
        elif isinstance(answer, Exception):
            if isinstance(answer, ResponseError):
                log.error("the store refused an operation: %s", answer)
            question.answer.set_exception(StoreUnavailable(f"the session store refused the operation: {answer}"))
        else:
            question.answer.set_result(answer)

    def _give_up(self, batch: list[_Question], why: str) -> None:
        for question in [*batch, *self._queue]:
            if not question.answer.done():
                question.answer.set_exception(StoreUnavailable(f"the session store is away: {why}"))
        self._queue = []

    def _lost(self, error: Exception) -> None:
        problem = str(error) or type(error).__name__
        if self.problem in ("", _NOT_YET):
            log.warning("the session store is away: %s", problem)
        self.problem = problem

    # ---- is it there?

    async def _probe_forever(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            if self.problem:
                await self._probe()

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS + CONNECT_SECONDS):
                await self._load_scripts()
        except (*_AWAY, RedisError) as error:
            self._lost(error if isinstance(error, Exception) else RuntimeError(error))
            return
        if self.problem:
            log.info("the session store answers")
        self.problem = ""

    async def _load_scripts(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for script in self._scripts.values():
            pipeline.execute_command("SCRIPT LOAD", script.text)
        await pipeline.execute()
