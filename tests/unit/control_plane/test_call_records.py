"""The ring of call records: how many there are, whose go first, what is kept where not each can be, and what they keep alive."""

from __future__ import annotations

import gc
import sys
import weakref
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.call import MOST_LEGS, MOVED, Call, outcome_of
from snakepit_control_plane.model.queue import place_of
from snakepit_control_plane.model.records import KEPT_SECONDS, MOST_POOLS, MOST_TEXT, PoolRecords, Records, level, record_of
from snakepit_control_plane.model.way import way
from support.allocated import in_use
from support.calls import make_call

WELL = link_pb2.Result(payload=common_pb2.Payload(data=b"1"), run_seconds=0.01)
REFUSED = link_pb2.Result(error=common_pb2.Error(reason="POOL_SATURATED", message="secret", started=common_pb2.STARTED_NO))
FAILED = link_pb2.Result(tool_error=common_pb2.ToolError(type="ValueError", message="secret"))


def call_of(now: float, seconds: float = 0.0, **fields: object) -> Call:
    call = make_call(**fields)
    call.request = msgspec.structs.replace(call.request, came_at=now - seconds)
    return call


def end(records: PoolRecords, now: float, result: link_pb2.Result = WELL, seconds: float = 0.01, **fields: object) -> None:
    records.ended(call_of(now, seconds, **fields), result, outcome_of(result), now)


def of(records: Records) -> PoolRecords:
    made = records.of_pool()
    assert made is not None
    return made


def test_the_newest_come_first_and_the_oldest_make_room() -> None:
    records = of(all_of := Records(100))
    for second in range(1000):
        end(records, second, FAILED if second % 3 else WELL, call_id=str(second))
    ids = [int(record.call_id) for record in records]
    assert len(ids) <= all_of.most
    assert ids[0] == 999
    assert all(later > earlier for later, earlier in pairwise(ids))


def test_a_busy_pool_takes_none_of_a_quiet_ones() -> None:
    every = Records(100)
    busy, quiet = of(every), of(every)
    for number in range(20):
        end(quiet, number)
    for number in range(10_000):
        end(busy, 100 + number)
    assert len(quiet) == 20
    assert 50 < len(busy) <= 80


def test_where_calls_come_fast_the_ring_still_reaches_back_and_counts_are_of_all() -> None:
    records = of(Records(1000))
    calls, per_second = 50_000, 500
    for number in range(calls):
        end(records, number / per_second)
    kept = [record.ended for record in records]
    assert len(kept) <= 1000
    assert kept[0] - kept[-1] > KEPT_SECONDS * 0.7
    assert max(later - earlier for later, earlier in pairwise(kept)) < 1.0, "it is a sample of all of the time"
    assert sum(minute.calls for minute in records.history.minutes) == calls


def test_failures_and_slow_calls_stay_while_usual_ones_pour_in() -> None:
    records = of(Records(1000))
    end(records, 0.0, FAILED, call_id="failed")
    end(records, 0.0, seconds=5.0, call_id="slow")
    for number in range(20_000):
        end(records, number / 1000)
    kept = {record.call_id for record in records}
    assert {"failed", "slow"} <= kept


def test_slow_is_what_takes_longer_than_nearly_all_did_in_the_minute_before() -> None:
    records = of(Records(10_000))
    for number in range(200):
        end(records, number / 10, seconds=0.001)
    end(records, 61.0, seconds=0.001)
    end(records, 62.0, seconds=0.05)
    assert len(records.notable.records) == 1


def test_a_flood_of_failures_does_not_take_the_place_of_all_that_went_well() -> None:
    records = of(Records(1000))
    for number in range(300):
        end(records, number / 10)
    for number in range(20_000):
        end(records, 30 + number / 1000, REFUSED)
    assert sum(record.reason == "OK" for record in records) == 300
    assert len(records) <= 1000


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(0, 2000))
def test_no_ring_that_is_shorter_than_others_loses_anything(lengths: list[int], most: int) -> None:
    share = level(lengths, most)
    left = [min(length, share) for length in lengths]
    assert sum(left) <= most or not lengths
    if sum(lengths) <= most:
        assert left == lengths
    else:
        assert most - sum(left) < len(lengths), "as much is kept as can be"


def test_a_pools_records_go_with_it_and_so_many_pools_have_some() -> None:
    every = Records(10)
    pools = [every.of_pool() for _ in range(MOST_POOLS + 1)]
    assert [pool is not None for pool in pools] == [True] * MOST_POOLS + [False]
    del pools
    gc.collect()
    assert every.of_pool() is not None
    assert Records(0).of_pool() is None


def test_a_record_has_neither_arguments_nor_results_nor_words_of_errors() -> None:
    records = of(Records(10))
    end(records, 1.0, FAILED, seconds=0.0)
    end(records, 2.0, REFUSED, seconds=0.0)
    refused, failed = records
    assert (failed.reason, failed.error_type, refused.reason, refused.started) == ("TOOL_ERROR", "ValueError", "POOL_SATURATED", 1)
    assert "secret" not in repr([refused, failed])


def test_of_a_lost_worker_it_is_kept_how_it_ended() -> None:
    records = of(Records(10))
    error = common_pb2.Error(reason="WORKER_LOST", message="secret", details={"how": "oom", "worker": "w-0/0"})
    end(records, 1.0, link_pb2.Result(error=error))
    (lost,) = records
    assert (lost.reason, lost.error_type) == ("WORKER_LOST", "oom")
    assert "secret" not in repr(lost)


def test_of_a_call_with_a_key_whose_run_goes_out_at_once_the_key_comes_first() -> None:
    first, run = call_of(1.0), call_of(1.0)
    first.move("join")
    run.move("send")
    run.sent_at = 1.0
    first.ran_as(run, 2.0)
    told = way(record_of(first, WELL, "OK", 2.0), ended=True)
    assert [(each.at, each.what) for each in told] == [(1.0, "joined"), (1.0, "sent"), (2.0, "answered")]


def test_texts_of_callers_are_cut() -> None:
    records = of(Records(10))
    call = make_call(call_id="c" * 5000, tool="t" * 5000, session_id="s" * 5000, traceparent="p" * 5000)
    call.bytes = call.message.ByteSize()
    records.ended(call, WELL, "OK", 1.0)
    (record,) = records
    assert {len(record.call_id), len(record.tool), len(record.session_id), len(record.traceparent)} == {MOST_TEXT}


class Watched(Call):
    """What weak references can be made to."""

    __slots__ = ("__weakref__",)


def test_a_record_keeps_neither_the_call_nor_its_frames() -> None:
    records, gone = of(Records(1000)), list[str]()
    before = in_use()
    for number in range(64):
        made = make_call()
        frame = link_pb2.Frame(call=link_pb2.Call(arguments=common_pb2.Payload(data=bytes(1 << 20))))
        call = Watched(made.request, made.tool, frame, frame.call, made.reply)
        weakref.finalize(call, gone.append, "call")
        result = link_pb2.Result(payload=common_pb2.Payload(data=bytes(1 << 20)))
        records.ended(call, result, "OK", float(number))
        del made, frame, call, result
    held = in_use()
    assert len(records) == len(gone) == 64
    assert held - before < 8, "of 128 MiB that came by"


def test_a_record_of_a_usual_call_takes_a_few_hundred_bytes() -> None:
    call = make_call(call_id="0" * 32, tool="classify")
    records = of(Records(10))
    records.ended(call, WELL, "OK", 1.0)
    (record,) = records
    own = [getattr(record, name) for name in ("call_id", "tool", "came_at", "ended", "run_seconds", "bytes_in", "bytes_out")]
    assert sys.getsizeof(record) + sum(map(sys.getsizeof, own)) < 600


def test_a_wait_counts_once_whatever_happens_in_it() -> None:
    call = make_call()
    place_of(call).since = 1.0
    call.move("wait")
    call.move("reserve")
    call.come_back(3.0, MOVED, "give back")
    call.move("wait")
    call.move("send")
    call.sent_at = 7.0
    record = record_of(call, WELL, "OK", 8.0)
    assert [leg.queue_seconds for leg in record.legs] == [2.0, 4.0]
    assert [leg.was_sent for leg in record.legs] == [False, True]
    assert record.sent_before == 0


def test_of_a_call_that_comes_back_again_and_again_the_first_ways_and_the_last_are_remembered() -> None:
    call = make_call()
    for now in range(1000):
        call.move("send")
        call.come_back(float(now), "NO_SLOT")
    record = record_of(call, None, "", 1000.0)
    assert record.sent_before == 1000
    assert [leg.ended for leg in record.before] == [*map(float, range(MOST_LEGS - 1)), 999.0]
