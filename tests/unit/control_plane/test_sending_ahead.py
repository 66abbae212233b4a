"""Which worker gets a call that is over before another worker would be awake, and which one that is not."""

from __future__ import annotations

from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, pool_pb2
from snakepit_control_plane.model.capsule import AHEAD_CALLS, AHEAD_SECONDS, NEXT_SECONDS, WAKE_SECONDS, Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.placement import pick
from support.simulated_agent import settings


def make_pool(workers: int, **means: float) -> Pool:
    given = settings()
    pool = Pool(given, decode_spec(given.spec), 0.0)
    capsule = Capsule("c", "1", pool.name, "", 0.0)
    capsule.tools = {name: common_pb2.Tool(name=name) for name in means}
    pool.capsules["1"] = capsule
    ready = pool_pb2.WORKER_STATE_READY
    pool.update(capsule, [pool_pb2.Worker(id=f"c/{i}", incarnation=f"{i}", state=ready, slots=1) for i in range(workers)], 0.0)
    for tool, seconds in means.items():
        pool.learn(tool, seconds)
    return pool


def send(pool: Pool, tool: str, *, others: bool = False) -> Worker | None:
    """As the router reserves."""
    worker = pick(pool, tool, others=others)
    if worker is not None:
        worker.own += 1
        worker.backlog += pool.mean_seconds(tool)
        pool.index.place(worker, 0.0)
    return worker


def test_calls_of_a_tool_that_is_not_quick_go_to_idle_workers_and_none_goes_ahead() -> None:
    pool = make_pool(3, slow=NEXT_SECONDS)
    assert len({send(pool, "slow") for _ in range(3)}) == 3
    assert send(pool, "slow", others=True) is None


def test_of_a_tool_of_some_milliseconds_one_call_goes_ahead_to_each_worker_but_only_while_others_wait() -> None:
    pool = make_pool(3, some=NEXT_SECONDS / 3)
    running = [send(pool, "some") for _ in range(3)]
    assert send(pool, "some") is None
    assert [send(pool, "some", others=True) for _ in range(3)] == running
    assert send(pool, "some", others=True) is None


def test_of_a_short_tool_one_call_goes_ahead_to_each_worker_first_to_the_one_that_is_busy_longest() -> None:
    pool = make_pool(3, short=2 * AHEAD_SECONDS)
    running = [send(pool, "short") for _ in range(3)]
    assert [send(pool, "short") for _ in range(3)] == running
    assert send(pool, "short") is None


def test_a_short_call_goes_to_a_free_worker_if_there_is_one_and_never_behind_a_slow_one() -> None:
    pool = make_pool(2, short=2 * AHEAD_SECONDS, slow=NEXT_SECONDS)
    slow, short = send(pool, "slow"), send(pool, "short")
    assert slow is not short
    assert send(pool, "short") is short
    assert send(pool, "short") is None


def test_quick_calls_go_behind_an_awake_worker_for_as_long_as_waking_another_takes() -> None:
    quick = WAKE_SECONDS / 5
    pool = make_pool(2, quick=quick)
    chosen = [send(pool, "quick") for _ in range(10)]
    assert [chosen.count(each) for each in dict.fromkeys(chosen)] == [5, 5]


def test_a_quick_call_never_goes_behind_a_slow_one() -> None:
    pool = make_pool(2, quick=WAKE_SECONDS / 10, slow=2 * AHEAD_SECONDS)
    first, second = send(pool, "slow"), send(pool, "quick")
    assert first is not second


def test_what_goes_ahead_is_bounded_however_quick_the_tool_is() -> None:
    pool = make_pool(2, instant=0.0)
    sent = 0
    while send(pool, "instant") is not None:
        sent += 1
    assert sent == 2 * (1 + AHEAD_CALLS)


def test_a_call_that_is_free_to_choose_goes_to_another_worker_each_time() -> None:
    pool = make_pool(3, quick=WAKE_SECONDS / 10)
    chosen = []
    for _ in range(6):
        worker = send(pool, "quick")
        assert worker is not None
        chosen.append(worker.id)
        worker.own, worker.backlog = 0, 0.0
        pool.index.place(worker, 0.0)
    assert chosen == ["c/0", "c/1", "c/2"] * 2
