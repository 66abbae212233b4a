"""Live, Suspect, Lost: what silence and broken links say about an agent, and when they rather say something about us. Pure.

It decides; the router carries out. Lost is a wish until the store agrees that no replica hears the agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snakepit.spec.fields import HeartbeatSpec
from snakepit.v1 import pool_pb2

GUARD_CAPSULES = 3
GUARD_TIMEOUTS = 10


@dataclass(frozen=True)
class Sign:
    """What is known of one agent: seconds since anything was heard of it, and whether its link is open."""

    silence: float
    linked: bool


def judge(sign: Sign, heartbeat: HeartbeatSpec) -> pool_pb2.Liveness:
    """One agent, by itself."""
    if sign.silence >= heartbeat.timeout_seconds:
        return pool_pb2.LIVENESS_LOST
    if not sign.linked or sign.silence >= heartbeat.interval_seconds * heartbeat.miss_threshold:
        return pool_pb2.LIVENESS_SUSPECT
    return pool_pb2.LIVENESS_LIVE


def judge_pool(signs: Sequence[Sign], heartbeat: HeartbeatSpec, held_for: float) -> tuple[list[pool_pb2.Liveness], bool]:
    """All agents of a pool. When most fall silent at once, nobody is Lost for it (the flag), for ten time-outs at most.

    `held_for`: seconds since the guard began to hold; 0 if it does not.
    """
    verdicts = [judge(sign, heartbeat) for sign in signs]
    silent = sum(verdict != pool_pb2.LIVENESS_LIVE for verdict in verdicts)
    hold = len(signs) >= GUARD_CAPSULES and silent * 2 > len(signs) and held_for < GUARD_TIMEOUTS * heartbeat.timeout_seconds
    if hold:
        verdicts = [pool_pb2.LIVENESS_SUSPECT if verdict == pool_pb2.LIVENESS_LOST else verdict for verdict in verdicts]
    return verdicts, hold
