"""A call's record as callers get it: its figures, and its way as a list of events. Pure."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from snakepit._telemetry.traceparent import parse
from snakepit.v1 import call_pb2, common_pb2
from snakepit_control_plane.model.call import RERUN
from snakepit_control_plane.model.records import Record
from snakepit_control_plane.model.way import way

QUEUED, RUNNING, ENDED = call_pb2.CALL_STATE_QUEUED, call_pb2.CALL_STATE_RUNNING, call_pb2.CALL_STATE_ENDED

_PRIORITIES = (common_pb2.PRIORITY_HIGH, common_pb2.PRIORITY_NORMAL, common_pb2.PRIORITY_LOW)


def info(pool: str, replica: str, record: Record, state: call_pb2.CallState, wall: float) -> call_pb2.CallInfo:
    """`wall`: what to add to the loop's clock to have seconds since the epoch."""
    last, traced = record.legs[-1], parse(record.traceparent)
    return call_pb2.CallInfo(
        id=record.call_id,
        pool=pool,
        tool=record.tool,
        caller=record.subject,
        session_id=record.session_id,
        state=state,
        reason=record.reason,
        error_type=record.error_type,
        started=_started(record, state),
        worker=record.worker,
        incarnation=record.incarnation,
        replica=replica,
        create_time=stamp(wall + record.came_at),
        queue_seconds=sum(each.queue_seconds for each in record.legs),
        run_seconds=record.ended - last.sent_at if state == RUNNING and last.was_sent else record.run_seconds,
        total_seconds=record.seconds,
        tries=record.sent_before + last.was_sent,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        priority=_PRIORITIES[record.rank],
        depth=record.depth,
        parent_call_id=record.around,
        trace_id="" if traced is None else traced.trace_id,
    )


def _started(record: Record, state: call_pb2.CallState) -> common_pb2.Started:
    if state == ENDED:
        return common_pb2.STARTED_YES if record.reason in ("OK", "TOOL_ERROR") else record.started
    return common_pb2.STARTED_MAYBE if state == RUNNING or any(each.why == RERUN for each in record.before) else common_pb2.STARTED_NO


def events(record: Record, state: call_pb2.CallState) -> list[call_pb2.CallEvent]:
    """What has happened to it, the first thing first."""
    return [
        call_pb2.CallEvent(seconds=max(0.0, each.at - record.came_at), what=each.what, detail=each.reason or each.worker)
        for each in way(record, ended=state == ENDED)
    ]


def stamp(seconds: float) -> Timestamp:
    """Of seconds since the epoch."""
    made = Timestamp()
    made.FromNanoseconds(int(seconds * 1e9))
    return made
