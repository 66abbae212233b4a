"""Filter, score, pick: the first filter that leaves nothing names the refusal, whatever else would refuse the call too."""

from __future__ import annotations

import pytest

from snakepit._ipc.sections import LARGE_BYTES
from snakepit.errors import PoolNotReady, ToolNotFound
from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, pool_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import AHEAD_SECONDS, Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.placement import RETRY_NOT_READY_SECONDS, Wait, patience, route
from support.calls import make_call
from support.simulated_agent import POOL, settings

READY, STARTING = pool_pb2.WORKER_STATE_READY, pool_pb2.WORKER_STATE_STARTING
LONG_AGO = 1e6
"""Seconds since the pool's last worker was ready: longer than activationTimeoutSeconds."""


def make_pool(*offers: str, state: pool_pb2.WorkerState = READY, **spec: object) -> Pool:
    """A capsule of one worker for each text, which has the names of its tools, a letter each."""
    given = settings(queue={"timeoutSeconds": 7, "activationTimeoutSeconds": 70}, **spec)
    pool = Pool(given, decode_spec(given.spec), 0.0)
    for number, tools in enumerate(offers):
        capsule = Capsule(f"c{number}", f"i{number}", POOL, "", 0.0)
        capsule.tools = {name: common_pb2.Tool(name=name) for name in tools}
        pool.capsules[capsule.incarnation] = capsule
        pool.update(capsule, [pool_pb2.Worker(id=f"{capsule.name}/0", incarnation=capsule.name, state=state, slots=1)], 0.0)
    return pool


def call(tool: str = "a") -> Call:
    return make_call(pool=POOL, tool=tool)


def occupy(pool: Pool, *workers: str) -> None:
    for name in workers:
        worker = pool.workers[name]
        worker.own = worker.slots
        pool.index.place(worker, 0.0)


def test_a_free_worker_that_offers_the_tool_is_picked_and_the_least_loaded_of_them() -> None:
    pool = make_pool("a", "a", "a")
    occupy(pool, "c0/0", "c2/0")
    assert route(pool, call(), 0.0) is pool.workers["c1/0"]


def test_during_a_rollout_only_workers_that_offer_the_tool_are_picked() -> None:
    pool = make_pool("a", "ab", "a")
    assert route(pool, call("b"), 0.0) is pool.workers["c1/0"]
    occupy(pool, "c1/0")
    assert route(pool, call("b"), 0.0) == Wait(7)
    assert isinstance(route(pool, call("a"), 0.0), Worker)


def test_without_a_free_slot_it_waits_for_as_long_as_the_queue_allows() -> None:
    pool = make_pool("a", "a")
    occupy(pool, "c0/0", "c1/0")
    assert route(pool, call(), 0.0) == Wait(7)


@pytest.mark.parametrize(("size", "waits"), [(LARGE_BYTES, False), (LARGE_BYTES + 1, True)])
def test_of_a_quick_tool_calls_go_ahead_of_slots_but_for_large_ones_however_they_came(size: int, waits: bool) -> None:
    pool = make_pool("a")
    pool.learn("a", AHEAD_SECONDS / 10)
    occupy(pool, "c0/0")
    large = call()
    large.bytes = size
    assert isinstance(route(pool, large, 0.0), Wait) is waits


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_tool_that_nobody_offers_is_named_whether_or_not_a_slot_is_free(busy: bool) -> None:
    pool = make_pool("a", "ab")
    if busy:
        occupy(pool, "c0/0", "c1/0")
    refusal = route(pool, call("z"), 0.0)
    assert isinstance(refusal, ToolNotFound)
    assert "'z'" in refusal.message


@pytest.mark.parametrize("tool", ["a", "z"], ids=["a tool that it has", "a tool that it does not have"])
def test_without_a_ready_worker_that_is_the_refusal_because_nobody_knows_what_the_next_will_offer(tool: str) -> None:
    refusal = route(make_pool("a", state=STARTING), call(tool), LONG_AGO)
    assert isinstance(refusal, PoolNotReady)
    assert "no ready worker" in refusal.message
    assert refusal.retry_after == RETRY_NOT_READY_SECONDS


def test_a_pool_without_a_ready_worker_is_waited_for_if_it_was_ready_a_moment_ago_or_is_scaled_to_zero() -> None:
    pool = make_pool("a")
    pool.workers["c0/0"].ready = False
    pool.refresh(pool.capsules["i0"], 0.0)
    assert route(pool, call(), 69.0) == Wait(70)
    assert isinstance(route(pool, call(), 71.0), PoolNotReady)
    assert route(make_pool(replicas=0), call(), LONG_AGO) == Wait(70)
    assert [patience(each, LONG_AGO) for each in (make_pool("a"), make_pool(replicas=0), make_pool(replicas=0, suspended=True))] == [
        7,
        70,
        7,
    ]


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ({"minReplicas": 0, "maxReplicas": 2}, True),
        ({"minReplicas": 1, "maxReplicas": 2, "schedule": [{"cron": "0 20 * * *", "minReplicas": 0}]}, True),
        ({"minReplicas": 1, "maxReplicas": 2}, False),
    ],
    ids=["no minimum", "none at night", "one at least"],
)
def test_a_pool_that_its_autoscaler_may_take_to_zero_is_waited_for(policy: dict[str, object], waits: bool) -> None:
    pool = make_pool(replicas=0, autoscaling=policy)
    assert isinstance(route(pool, call(), LONG_AGO), Wait) is waits


def test_of_an_autoscaled_pool_as_many_capsules_are_wanted_as_are_there_for_all_that_a_replica_knows() -> None:
    policy = {"minReplicas": 0, "maxReplicas": 9}
    assert make_pool("a", "a", replicas=7, autoscaling=policy).describe(0.0).desired_capsules == 2
    assert make_pool(replicas=7, autoscaling=policy).describe(0.0).desired_capsules == 0, "a pool at zero lacks nothing"
    assert make_pool("a", replicas=7, autoscaling={"minReplicas": 3, "maxReplicas": 9}).describe(0.0).desired_capsules == 3
    assert make_pool("a", replicas=7).describe(0.0).desired_capsules == 7


def test_a_pool_that_is_to_have_no_capsules_says_so_and_one_that_lacks_them_that() -> None:
    waking = make_pool(autoscaling={"minReplicas": 0, "maxReplicas": 9})
    assert waking.describe(0.0).reason == "ScaledToZero"
    waking.queue.push(call(), 0.0)
    assert waking.describe(0.0).reason == "NoCapsule", "a call waits for one"
    pools = make_pool(replicas=0), make_pool(replicas=1, suspended=True), make_pool(replicas=1), make_pool("a")
    assert [each.describe(0.0).reason for each in pools] == ["ScaledToZero", "Suspended", "NoCapsule", "Ready"]


def test_a_suspended_pool_says_so_even_if_it_is_scaled_to_zero_or_was_ready_a_moment_ago() -> None:
    refusal = route(make_pool(replicas=0, suspended=True), call(), 1.0)
    assert isinstance(refusal, PoolNotReady)
    assert "set spec.suspended to false" in refusal.message
