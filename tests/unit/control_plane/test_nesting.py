"""Which nested call waits for itself, which is too deep, and what ends with the call around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit.errors import CallTooDeep, WouldDeadlock
from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, pool_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.nesting import Nest, nest_of
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.nesting import too_deep, waits_for_itself
from support.calls import make_call
from support.simulated_agent import POOL
from support.simulated_agent import settings as pool_settings

READY, STARTING, DRAINING = pool_pb2.WORKER_STATE_READY, pool_pb2.WORKER_STATE_STARTING, pool_pb2.WORKER_STATE_DRAINING


def a_pool(*slots: int, states: dict[int, pool_pb2.WorkerState] | None = None, replicas: int = 1) -> Pool:
    """One capsule with a worker for each number of slots."""
    given_settings = pool_settings(replicas=replicas)
    pool = Pool(given_settings, decode_spec(given_settings.spec), 0.0)
    capsule = Capsule("c", "i", POOL, "", 0.0)
    capsule.tools = {"t": common_pb2.Tool(name="t")}
    pool.capsules["i"] = capsule
    infos = [
        pool_pb2.Worker(id=f"c/{n}", incarnation=str(n), state=(states or {}).get(n, READY), slots=count) for n, count in enumerate(slots)
    ]
    pool.update(capsule, infos, 0.0)
    return pool


def a_call(name: str = "t", session_id: str = "") -> Call:
    return make_call(call_id=name, pool=POOL, tool="t", session_id=session_id)


def within(around: Call, worker: Worker | None = None) -> Call:
    """A call made by the tool of `around`."""
    call = a_call(around.call_id + "'")
    call.nest = Nest(nest_of(around), call)
    call.worker = worker
    return call


def chain(pool: Pool, *workers: str) -> Call:
    """Calls that run on these workers, each made by the one before, and a last one that runs nowhere."""
    call = a_call()
    call.worker = pool.workers[workers[0]]
    for name in workers[1:]:
        call = within(call, pool.workers[name])
    return within(call)


def test_a_call_whose_chain_holds_every_slot_waits_for_itself() -> None:
    refusal = waits_for_itself(pool := a_pool(1, 2), chain(pool, "c/0", "c/1", "c/1"), None)
    assert isinstance(refusal, WouldDeadlock)
    assert "hold all 3 slots of pool default/test" in refusal.message
    assert refusal.details == {"slots": "3"}


@pytest.mark.parametrize(
    ("pool", "held"),
    [
        (a_pool(1, 1), ("c/0",)),
        (a_pool(1, 2), ("c/0", "c/1")),
        (a_pool(1, 1, states={1: STARTING}), ("c/0",)),
        (a_pool(1, replicas=2), ("c/0",)),
    ],
    ids=["a free worker", "a free slot", "a worker that starts", "a capsule that is missing"],
)
def test_while_anything_else_could_serve_it_the_call_waits(pool: Pool, held: tuple[str, ...]) -> None:
    assert waits_for_itself(pool, chain(pool, *held), None) is None


def test_workers_that_can_not_serve_it_do_not_count() -> None:
    pool = a_pool(1, 1, states={1: DRAINING})
    assert waits_for_itself(pool, chain(pool, "c/0"), None) is not None
    other = Capsule("d", "j", POOL, "", 0.0)
    other.tools = {"another": common_pb2.Tool(name="another")}
    pool.capsules["j"] = other
    pool.update(other, [pool_pb2.Worker(id="d/0", incarnation="x", state=READY, slots=1)], 0.0)
    assert waits_for_itself(pool, chain(pool, "c/0"), None) is not None
    other.tools["t"] = common_pb2.Tool(name="t")
    assert waits_for_itself(pool, chain(pool, "c/0"), None) is None


def test_a_call_that_may_only_go_to_one_worker_waits_for_itself_though_others_are_free() -> None:
    pool = a_pool(1, 1)
    call = chain(pool, "c/0")
    refusal = waits_for_itself(pool, call, pool.workers["c/0"])
    assert refusal is not None
    assert "the only slot of worker c/0 of its session" in refusal.message
    assert waits_for_itself(pool, call, pool.workers["c/1"]) is None


def test_calls_of_nobody_and_calls_that_have_ended_hold_nothing() -> None:
    pool = a_pool(1)
    assert waits_for_itself(pool, a_call(), None) is None
    call = chain(pool, "c/0")
    next(call.nest.around()).answered = True  # type: ignore[union-attr]
    assert waits_for_itself(pool, call, None) is None


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.lists(st.integers(0, 3), max_size=9))
def test_only_a_chain_that_fills_every_worker_waits_for_itself(slots: list[int], holds: list[int]) -> None:
    pool = a_pool(*slots)
    held = [each % len(slots) for each in holds]
    if any(held.count(n) > count for n, count in enumerate(slots)) or not held:
        return
    proven = all(held.count(n) == count for n, count in enumerate(slots))
    assert (waits_for_itself(pool, chain(pool, *[f"c/{n}" for n in held]), None) is not None) == proven


def test_a_chain_is_cut_where_it_is_too_deep() -> None:
    call = a_call()
    for _ in range(3):
        assert too_deep(nest_of(call), "t", 3) is None
        call = within(call)
    refusal = too_deep(nest_of(call), "t", 3)
    assert isinstance(refusal, CallTooDeep)
    assert refusal.details == {"limit": "maxNestingDepth", "depth": "3"}


def test_a_chain_knows_its_session_and_who_holds_its_turn() -> None:
    around = a_call("first", session_id="s")
    call = within(within(around))
    assert call.nest is not None
    assert call.nest.session() == (POOL, "s", "")
    assert call.nest.holder(POOL, "s") == "first"
    assert call.nest.holder("default/other", "s") == ""
    assert Nest(nest_of(a_call())).session() == ("", "", "")


def test_what_a_call_had_called_is_given_up_when_it_ends_and_what_ended_before_is_not() -> None:
    given_up = []
    around = nest_of(a_call())
    for name in ("early", "late"):
        nest = Nest(around)
        around.children[nest] = lambda name=name: given_up.append(name)  # type: ignore[misc]
        if name == "early":
            nest.end()
    around.end()
    around.end()
    assert given_up == ["late"]
