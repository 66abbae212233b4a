"""Whatever two replicas ask of a store at once: each answer is the one that some order of their operations gives. By hypothesis."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snakepit.errors import SnakepitError
from snakepit.v1 import common_pb2
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.server import make_store
from snakepit_control_plane.store.claims import Run
from snakepit_control_plane.store.interface import Store
from support.store_model import LIMITS, MOST_SESSIONS, OWNER_BYTES, TYPE, Answer, Model, Op, explain

LONG = 1000.0
SESSIONS = ["s0", "s0", "s0", "s0", "s1", "s2"]
KEYS = ["a", "a", "b", "c"]

_pools = itertools.count()

Step = tuple[str, int, int, int]
NAMES = ["create", "get", "delete", "bind", "unbind", "write", "write", "write", "swap", "swap", "read", "keys", "drop", "drop", "count"]
NAMES += ["claim", "claim", "finish", "release"]
number = st.integers(0, 11)
step = st.tuples(st.sampled_from(NAMES), number, number, number)
batches = st.lists(st.lists(step, min_size=1, max_size=3), min_size=5, max_size=25)


@dataclass
class Play:
    """One pool in a store that two replicas have open; what they know of its sessions, and what the store may be like now."""

    replicas: Sequence[Store]
    pool: str
    models: list[Model] = field(default_factory=lambda: [Model()])
    known: list[SessionRecord] = field(default_factory=list)
    uids: int = 0

    async def batch(self, steps: Sequence[Step]) -> None:
        ops = [self._op(*step) for step in steps]
        answers = await asyncio.gather(*(self._ask(self.replicas[n % 2], op) for n, op in enumerate(ops)))
        after: list[Model] = []
        for model in self.models:
            after += [each for each in explain(model, ops, answers) if each not in after]
        assert after, f"no order of {ops} gives {answers}; before them the store was one of {self.models}"
        self.models = after

    def _op(self, name: str, which: int, what: int, how: int) -> Op:
        session, key = SESSIONS[which % len(SESSIONS)], KEYS[what % len(KEYS)]
        if name == "create":
            self.uids += 1
            return Op(name, session, value=b"uid-%d" % self.uids)
        if name in ("claim", "finish", "release"):
            run = Run(self.pool, f"key-{which % 2}", "digest", f"replica-{what % 2}", f"run-{what % 4}")
            return Op(name, value=b"outcome of %d" % how, run=run)
        known = [record for record in self.known if record.id == session]
        record = known[-1 - how // 3 % len(known)] if known else None
        if name in ("bind", "unbind"):
            return Op("get", session) if record is None else Op(name, session, worker=f"c/{what}", known=record)
        fence = record.fence if record is not None and how % 3 else None
        expected = how % 4 if name == "swap" else None
        return Op("write" if name == "swap" else name, session, key, b"x" * (1 + how % 5), expected=expected, fence=fence)

    async def _ask(self, store: Store, op: Op) -> Answer:
        try:
            return await self._carry_out(store, op)
        except SnakepitError as error:
            return type(error).__name__

    async def _carry_out(self, store: Store, op: Op) -> Answer:
        pool = self.pool
        if op.run is not None:
            return await self._claim(store, op, op.run)
        if op.name == "count":
            return await store.count_sessions(pool)
        if op.name == "create":
            wanted = SessionRecord(pool, op.session, op.value.decode(), 0.0, 0.0, LONG, 1, owner="ada")
            return self._learn((await store.create_session(wanted, MOST_SESSIONS))[0])
        if op.name == "get":
            return self._learn(await store.get_session(pool, op.session))
        if op.name == "delete":
            gone = await store.delete_session(pool, op.session)
            return None if gone is None else (gone.uid, gone.epoch, gone.worker)
        if op.known is not None:
            binding = (op.worker, f"life of {op.worker}", "agent") if op.name == "bind" else ()
            change = store.bind_session if op.name == "bind" else store.unbind_session
            return self._learn(await change(op.known, *binding))
        return await self._state(store, op)

    async def _state(self, store: Store, op: Op) -> Answer:
        where = (self.pool, op.session)
        if op.name == "read":
            found = await store.get_state(*where, op.key, op.fence)
            return None if found is None else (found.version, found.value.data)
        if op.name == "keys":
            return [(each.key, each.version, each.size_bytes) for each in await store.list_state(*where, op.fence)]
        if op.name == "drop":
            return await store.delete_state(*where, op.key, op.fence)
        payload = common_pb2.Payload(content_type=TYPE, data=op.value)
        written = await store.set_state(*where, op.key, payload, op.expected, LIMITS, op.fence)
        return written.done, written.version

    @staticmethod
    async def _claim(store: Store, op: Op, run: Run) -> Answer:
        if op.name == "claim":
            found = await store.claims.claim(run, lease_seconds=LONG, keep_seconds=LONG, lost=b"lost")
            return found.state, found.outcome
        if op.name == "finish":
            return await store.claims.finish(run, op.value, LONG)
        await store.claims.release(run)
        return None

    def _learn(self, record: SessionRecord) -> Answer:
        """Both replicas may know the record from now on, also when it is out of date."""
        self.known.append(record)
        return record.uid, record.epoch, record.worker


async def play(replicas: Sequence[Store], plan: Sequence[Sequence[Step]]) -> None:
    game = Play(replicas, f"default/properties-{next(_pools)}")
    for steps in [[("create", 0, 0, 0)], *plan]:
        await game.batch(steps)


@pytest.mark.usefixtures("patient")
def test_each_answer_is_that_of_some_order_of_what_two_replicas_ask_at_once(url: str) -> None:
    """Epochs only grow, a compare-and-set wins once, quotas hold, a deleted session's state is gone, a key is claimed once."""
    memory = url == "memory:"

    with asyncio.Runner() as runner:

        async def opened() -> list[Store]:
            stores = [make_store(url, OWNER_BYTES) for _ in range(1 if memory else 2)]
            for each in stores:
                await each.start()
            return stores

        stores = runner.run(opened())

        unjudged = [HealthCheck.nested_given, HealthCheck.too_slow]

        @settings(max_examples=300 if memory else 100, deadline=None, suppress_health_check=unjudged)
        @given(batches)
        def example(plan: list[list[Step]]) -> None:
            runner.run(play([stores[0], stores[-1]], plan))

        try:
            example()
        finally:
            for each in stores:
                runner.run(each.close())
