"""What a call's caller is told: a worker's result as it is, or a sentence where it can't be passed on, was lost, or is too much.

A worker's frames are what its process says, in which the author's code runs too. Pure, but that it closes memfds that nobody wants.
"""

from __future__ import annotations

import os

from snakepit._ipc.frames import CallFailure, Payload
from snakepit._ipc.sockets import FramingError, check_held
from snakepit._wire.channels import MOST_ATTACHMENTS
from snakepit.errors import Started
from snakepit.v1 import link_pb2
from snakepit_agent.link.translate import LargePayload, Outcome, failure, payload_bytes, result_to_wire
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.exits import Exit

STOPPED = {"DEADLINE": "the deadline passed", "CANCELLED": "the call was cancelled"}


def limited(tool: str, outcome: Outcome, limit: int, name: str) -> Outcome:
    """The outcome, or that it is too much. `limit`: of its replica, in bytes; `name`: of that limit."""
    if isinstance(outcome, Payload):
        if not outcome.attachments and len(outcome.data) <= limit:
            return outcome
        payload = outcome
    elif isinstance(outcome, LargePayload):
        payload = outcome.payload
    else:
        return outcome
    if (attached := len(payload.attachments)) > MOST_ATTACHMENTS:
        drop(outcome)
        message = f"the result of tool {tool} has {attached} attachments, {MOST_ATTACHMENTS} is the most: join small ones"
        return failure("PAYLOAD_TOO_LARGE", message, Started.YES, {"limit": "attachments", "attachments": str(MOST_ATTACHMENTS)})
    if (size := payload_bytes(outcome)) <= limit:
        return outcome
    drop(outcome)
    message = f"the result of tool {tool} has {size} bytes, over the limit of {limit} ({name})"
    return failure("PAYLOAD_TOO_LARGE", message, Started.YES, {"limit": name, "bytes": str(limit)})


def taken_over(large: LargePayload) -> Outcome:
    """A large result, or chunk, that its worker has handed over."""
    if large.descriptor < 0:
        return failure("WORKER_LOST", f"the worker announced {payload_bytes(large)} bytes and did not hand them over", Started.YES)
    try:
        check_held(large.descriptor, large.payload, large.sections)
    except FramingError as problem:
        drop(large)
        return failure("WORKER_LOST", f"the worker's result can't be passed on: {problem}", Started.YES)
    return large


def result(held: HeldCall, worker: str, final: Outcome, outcome: Outcome, run_seconds: float) -> tuple[link_pb2.Frame, Outcome]:
    """The frame that ends the call with `final`, and its `outcome`, which for a stream is its last chunk."""
    try:
        return result_to_wire(held.remote, held.call_id, worker, held.incarnation, final, run_seconds), outcome
    except ValueError as problem:  # what no payload of the SDK's has, such as a shape that is no number of 64 bits
        drop(outcome)
        told = failure("WORKER_LOST", f"the worker's result can't be passed on: {problem}", Started.YES)
        return result_to_wire(held.remote, held.call_id, worker, held.incarnation, told, run_seconds), told


def started(held: HeldCall) -> Started:
    """Its worker has read it; whether the tool's first line has run, nobody but the worker could say, or its stacks."""
    return Started.YES if held.at else Started.MAYBE


def unstopped(held: HeldCall) -> str:
    """A sentence for whoever hears that a tool did not stop in time."""
    at = f": it was at {held.at}" if held.at else ""
    return f"{STOPPED.get(held.stopping, held.stopping)}, and tool {held.tool} did not stop{at}"


def lost(held: HeldCall, worker: str, ending: Exit) -> CallFailure:
    """What the caller hears whose call's worker died while it ran."""
    if held.stopping:
        message = f"{STOPPED.get(held.stopping, held.stopping)}, and worker {worker} was ended: {ending.words}"
        return failure(held.stopping, message, started(held), {"how": ending.how})
    message = f"worker {worker} died during the call: {ending.words}"
    return failure("WORKER_LOST", message, Started.MAYBE, {"how": ending.how, "worker": worker})


def drop(outcome: Outcome) -> None:
    """Close the memfd of an outcome that nobody wants."""
    if isinstance(outcome, LargePayload) and outcome.descriptor >= 0:
        os.close(outcome.descriptor)
