"""What a caller needs a right for, in Kubernetes' words: a verb on a subresource of a SnakePool. Pure.

Verbs and subresources are those of docs/security.md, and of the chart's ClusterRoles; `kubectl auth can-i` takes the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from snakepit._values.strings import quoted
from snakepit.errors import PermissionDenied

API_GROUP = "snakepit.dev"
RESOURCE = "snakepools"


@dataclass(frozen=True, slots=True)
class Right:
    """`update` `snakepools/workers`, say. What it is on is `namespace/name`; of what is in no namespace, `/name`."""

    verb: str
    subresource: str = ""
    resource: str = RESOURCE
    group: str = API_GROUP

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}/{self.subresource}" if self.subresource else f"{self.verb} {self.resource}"


CALL = Right("create", "call")
OFFER = Right("create", "tools")
LOOK = Right("get", "status")
MAINTAIN = Right("update", "workers")
READ_SESSION = Right("get", "sessions")
LIST_SESSIONS = Right("list", "sessions")
CHANGE_SESSION = Right("update", "sessions")
DELETE_SESSION = Right("delete", "sessions")
READ_CALL = Right("get", "calls")
LIST_CALLS = Right("list", "calls")
CANCEL_CALL = Right("delete", "calls")
READ_LOGS = Right("get", "log", resource="pods", group="")
"""On a capsule's pod: who may read it there may read it here, and nobody else."""

ON_POOLS = (
    CALL, OFFER, LOOK, MAINTAIN, READ_SESSION, LIST_SESSIONS, CHANGE_SESSION, DELETE_SESSION, READ_CALL, LIST_CALLS, CANCEL_CALL,
)  # fmt: skip
"""All that there are."""

AS_USER = Right("impersonate", resource="users", group="")
AS_GROUP = Right("impersonate", resource="groups", group="")
AS_ACCOUNT = Right("impersonate", resource="serviceaccounts", group="")


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


def attributes(right: Right, what: str) -> dict[str, str]:
    """The right on that, as a review's `resourceAttributes`."""
    namespace, _, name = what.partition("/")
    asked = {"group": right.group, "resource": right.resource, "subresource": right.subresource, "verb": right.verb}
    return {**asked, "namespace": namespace, "name": name}


def denied(subject: str, right: Right, what: str, reason: str) -> PermissionDenied:
    """What a caller without the right is told: what is missing, and how it is given."""
    namespace, _, name = what.partition("/")
    kind = f"{right.resource}.{right.group}" if right.group else right.resource
    within = (f" --subresource={right.subresource}" if right.subresource else "") + (f" -n {namespace}" if namespace else "")
    ask = f"kubectl auth can-i {right.verb} {kind}{f'/{name}' if name else ''}{within} --as={subject}"
    on = f"of pool {what}" if right.resource == RESOURCE else quoted(what.removeprefix("/")) if name else f"in namespace {namespace}"
    why = f" ({reason[:200]})" if reason else ""
    message = f"{quoted(subject)} may not {right} {on}{why}: bind it to a role with that verb; `{ask}` says whether it holds"
    return PermissionDenied(message, details={"verb": right.verb, "resource": str(right).partition(" ")[2]})
