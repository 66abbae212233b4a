"""The callers: each does one thing after another, picked at random, and tells the ledger how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import snakepit
from snakepit import SessionWorkerUnavailable, SnakepitError, ToolError
from tests.soak.ledger import GONE, OK, REPLAYED, UNSEEN, Ledger

CALLERS = 24
SESSIONS, STRICT_SESSIONS = 6, 2
TIMEOUT = 60.0
LARGE_BYTES = 300 * 1024
"""Over the limit from which a payload has a stream of its own."""

PADDING = 20_000
HOG_MIB = 24
HUNG_SECONDS = 0.3


class Load:
    """`counters`: how many `add`s each session has acknowledged, and how many more may have happened."""

    def __init__(self, pool: snakepit.Pool, alone: snakepit.Pool, rng: random.Random) -> None:
        self.pool = pool
        self.alone = alone
        self.ledger = Ledger()
        self.acknowledged: Counter[str] = Counter()
        self.unsure: Counter[str] = Counter()
        self.undeleted: set[str] = set()
        self.wrong: list[str] = []
        self._rng = rng
        self._stop = asyncio.Event()
        things: list[tuple[float, Callable[[str], Awaitable[None]]]] = [
            (40, self._quick),
            (15, self._slow),
            (5, self._failing),
            (10, self._cancelled),
            (3, self._late),
            (8, self._stream),
            (4, self._slow_reader),
            (4, self._left_stream),
            (8, self._add),
            (3, self._large),
            (4, self._keyed),
            (2, self._relay),
            (2, self._strict),
            (1, self._alone),
            (0.7, self._hog),
            (0.5, self._child),
            (0.3, self._hung),
        ]
        self._weights = [weight for weight, _ in things]
        self._things = [thing for _, thing in things]

    async def run(self) -> None:
        """Until `stop`; then every call that is under way ends."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._caller())

    def stop(self) -> None:
        self._stop.set()

    async def _caller(self) -> None:
        while not self._stop.is_set():
            (thing,) = self._rng.choices(self._things, self._weights)
            token = self.ledger.token()
            try:
                await thing(token)
            except SnakepitError as error:
                self.ledger.failed(token, error)

    async def _quick(self, token: str) -> None:
        priority = self._rng.choice(["high", "normal", "low"])
        assert await self.pool.call("quick", {"token": token}, timeout=TIMEOUT, priority=priority) == token
        self.ledger.end(token, OK)

    async def _keyed(self, token: str) -> None:
        """Twice with one key: the second time it must not run."""
        assert await self.pool.call("quick", {"token": token}, timeout=TIMEOUT, idempotency_key=token) == token
        self.ledger.end(token, OK)
        repeat = self.ledger.token()
        try:
            assert await self.pool.call("quick", {"token": token}, timeout=TIMEOUT, idempotency_key=token) == token
        except SnakepitError as error:
            self.ledger.failed(repeat, error)
        else:
            self.ledger.end(repeat, REPLAYED)

    async def _relay(self, token: str) -> None:
        inner = self.ledger.token()
        try:
            assert await self.pool.call("relay", {"token": token, "inner": inner}, timeout=TIMEOUT) == inner
        except SnakepitError:
            self.ledger.end(inner, UNSEEN)
            raise
        self.ledger.end(token, OK)
        self.ledger.end(inner, OK)

    async def _slow(self, token: str) -> None:
        seconds = self._rng.uniform(0.01, 0.1)
        assert await self.pool.call("slow", {"token": token, "seconds": seconds}, timeout=TIMEOUT) == token
        self.ledger.end(token, OK)

    async def _failing(self, token: str) -> None:
        await self.pool.call("failing", {"token": token}, timeout=TIMEOUT)
        raise AssertionError("a failing tool has given a result")

    async def _cancelled(self, token: str) -> None:
        call = asyncio.create_task(self.pool.call("slow", {"token": token, "seconds": 5.0}, timeout=TIMEOUT))
        await asyncio.wait([call], timeout=self._rng.uniform(0, 0.1))
        if call.done():
            call.result()
        call.cancel()
        await asyncio.wait([call])
        if not call.cancelled() and (error := call.exception()) is not None:
            raise error
        self.ledger.end(token, GONE)

    async def _late(self, token: str) -> None:
        await self.pool.call("slow", {"token": token, "seconds": 5.0}, timeout=self._rng.uniform(0.05, 0.2))
        raise AssertionError("a call has outlived its deadline")

    async def _stream(self, token: str) -> None:
        await self._read(token, 50, pause=0.0)

    async def _slow_reader(self, token: str) -> None:
        await self._read(token, 100, pause=0.005)

    async def _read(self, token: str, to: int, pause: float) -> None:
        expected = 0
        async for chunk in self.pool.stream("numbers", {"token": token, "to": to, "size": PADDING}, timeout=TIMEOUT):
            assert chunk["number"] == expected, f"{token}: chunk {chunk['number']} where {expected} was due"
            expected += 1
            if pause:
                await asyncio.sleep(pause)
        assert expected == to, f"{token}: {expected} chunks of {to}, and no error"
        self.ledger.end(token, OK)

    async def _left_stream(self, token: str) -> None:
        stream = self.pool.stream("numbers", {"token": token, "to": 1000, "size": PADDING}, timeout=TIMEOUT)
        try:
            async for chunk in stream:
                if chunk["number"] == 3:
                    break
        finally:
            await stream.aclose()
        self.ledger.end(token, GONE)

    async def _hung(self, token: str) -> None:
        """It is killed for it."""
        await self.pool.call(self._rng.choice(["stubborn", "c_loop"]), {"token": token}, timeout=HUNG_SECONDS)
        raise AssertionError("a tool that never ends has given a result")

    async def _hog(self, token: str) -> None:
        assert await self.pool.call("hog", {"token": token, "mib": HOG_MIB}, timeout=TIMEOUT) == HOG_MIB
        self.ledger.end(token, OK)

    async def _child(self, token: str) -> None:
        await self.pool.call("child", {"token": token}, timeout=TIMEOUT)
        self.ledger.end(token, OK)

    async def _alone(self, token: str) -> None:
        """In a session that has its worker to itself."""
        session = self.alone.session(token)
        self.undeleted.add(token)
        await session.create()
        try:
            assert await session.call("mine", {"token": token}, timeout=TIMEOUT) == token
        except ToolError as error:
            self.wrong.append(error.message)
            raise
        finally:
            with contextlib.suppress(SnakepitError):  # It is deleted at the end.
                await session.delete()
                self.undeleted.remove(token)
        self.ledger.end(token, OK)

    async def _strict(self, token: str) -> None:
        session = self.pool.session(f"strict-{self._rng.randrange(STRICT_SESSIONS)}", affinity="strict_queue")
        try:
            await self._add_in(session, token)
        except SessionWorkerUnavailable as error:
            self.ledger.failed(token, error)
            with contextlib.suppress(SnakepitError):  # Somebody else's call does it.
                await session.rebind()

    async def _add(self, token: str) -> None:
        await self._add_in(self.pool.session(f"session-{self._rng.randrange(SESSIONS)}"), token)

    async def _add_in(self, session: snakepit.Session, token: str) -> None:
        session_id = session.id
        self.unsure[session_id] += 1
        try:
            await session.call("add", {"token": token}, timeout=TIMEOUT)
        except SnakepitError as error:
            if error.started is snakepit.Started.NO:
                self.unsure[session_id] -= 1
            raise
        self.unsure[session_id] -= 1
        self.acknowledged[session_id] += 1
        self.ledger.end(token, OK)

    async def _large(self, token: str) -> None:
        data = self._rng.randbytes(16) * (LARGE_BYTES // 16)
        assert await self.pool.call("large", {"token": token, "data": data}, timeout=TIMEOUT) == data
        self.ledger.end(token, OK)

    async def open_sessions(self) -> None:
        for session_id in self._session_ids():
            await self.pool.session(session_id).create()

    async def delete_sessions(self) -> None:
        for session_id in self._session_ids():
            await self.pool.session(session_id).delete()
        for session_id in self.undeleted:
            await self.alone.session(session_id).delete()

    def _session_ids(self) -> list[str]:
        return [*[f"session-{number}" for number in range(SESSIONS)], *[f"strict-{number}" for number in range(STRICT_SESSIONS)]]

    async def session_problems(self) -> list[str]:
        """Where a session's counter is not what its callers were told, or one has had another's worker."""
        found = list(self.wrong)
        for session_id, told in self.acknowledged.items():
            count = await self.pool.session(session_id).state.get("count") or 0
            if not told <= count <= told + self.unsure[session_id]:
                found.append(f"{session_id} counted {count}, its callers {told} and {self.unsure[session_id]} that they can't know of")
        return found
