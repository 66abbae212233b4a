"""What a caller needs a right for, in Kubernetes' words: a verb on a subresource of a SnakePool. Pure.

Verbs and subresources are those of docs/security.md, and of the chart's ClusterRoles; `kubectl auth can-i` takes the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from snakepit._names import parse_pool
from snakepit._values.strings import quoted
from snakepit.errors import PermissionDenied

API_GROUP = "snakepit.dev"
RESOURCE = "snakepools"


@dataclass(frozen=True, slots=True)
class Right:
    """`update` `snakepools/workers`, say."""

    verb: str
    subresource: str

    def __str__(self) -> str:
        return f"{self.verb} {RESOURCE}/{self.subresource}"


CALL = Right("create", "call")
OFFER = Right("create", "tools")
LOOK = Right("get", "status")
MAINTAIN = Right("update", "workers")
READ_SESSION = Right("get", "sessions")
LIST_SESSIONS = Right("list", "sessions")
CHANGE_SESSION = Right("update", "sessions")
DELETE_SESSION = Right("delete", "sessions")


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a right is there, and why, in the words of whoever was asked."""

    allowed: bool
    reason: str = ""


TOLD_SECONDS = 60.0
"""While answers come, a right that is given or taken is so within this time, in the worst case."""
LOOK_AGAIN_SECONDS = 5.0
"""A link takes a pool's right as given for so long; then it looks again what is known of it."""
FRESH_SECONDS = 30.0
KEPT_SECONDS = TOLD_SECONDS - LOOK_AGAIN_SECONDS
REFUSED_SECONDS = 10.0
AWAY_SECONDS = 600.0
"""While nobody answers, the last answer holds for so long."""


class Freshness(Enum):
    """Of an answer: it holds; it holds, and is to be asked for again; it holds no more."""

    FRESH = "fresh"
    AGING = "aging"
    STALE = "stale"


def freshness(answer: Answer, age: float, *, away: bool) -> Freshness:
    """`age` in seconds since it was asked for; `away`: does nobody answer now?"""
    if age <= (FRESH_SECONDS if answer.allowed else REFUSED_SECONDS):
        return Freshness.FRESH
    most = AWAY_SECONDS if away else KEPT_SECONDS if answer.allowed else 0.0
    return Freshness.AGING if age <= most else Freshness.STALE


def attributes(right: Right, pool: str) -> dict[str, str]:
    """The right on the pool, as a review's `resourceAttributes`."""
    namespace, name = parse_pool(pool)
    what = {"group": API_GROUP, "resource": RESOURCE, "subresource": right.subresource, "verb": right.verb}
    return {**what, "namespace": namespace, "name": name}


def denied(subject: str, right: Right, pool: str, reason: str) -> PermissionDenied:
    """What a caller without the right is told: what is missing, and how it is given."""
    namespace, name = parse_pool(pool)
    ask = f"kubectl auth can-i {right.verb} {RESOURCE}.{API_GROUP}/{name} --subresource={right.subresource} -n {namespace} --as={subject}"
    why = f" ({reason[:200]})" if reason else ""
    message = f"{quoted(subject)} may not {right} of pool {pool}{why}: bind it to a role with that verb; `{ask}` says whether it holds"
    return PermissionDenied(message, details={"verb": right.verb, "resource": f"{RESOURCE}/{right.subresource}"})
