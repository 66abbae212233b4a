"""What is wrong with the control plane itself, by what its replicas say: store, versions, clocks, operator. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.way import CLOCK_SECONDS, clock
from snakepit.client.findings import Finding
from snakepit.client.views import ReplicaInfo

AWAY_SECONDS = 30.0
"""An operator that is replaced takes its lease within this."""

SLOW_SECONDS = 0.25
"""What the store's slow answers may take. The alert SnakepitStoreSlow has the same."""

CONTROL_PLANE, OPERATOR, STORE = "control plane", "operator", "session store"

WITHOUT_STORE = "sessions and idempotency keys fail (STORE_UNAVAILABLE) and other calls go on"
LOOK_AT_REDIS = "look at Redis' pod, Secret and volume"


class Heard(msgspec.Struct, frozen=True):
    """What replicas have said between two moments, in Unix seconds by the clock here. `missing`: addresses of those that did not."""

    replicas: Sequence[ReplicaInfo]
    missing: Sequence[str]
    asked: float
    answered: float


def of_replicas(heard: Heard, own_version: str) -> list[Finding]:
    """`own_version`: of this program."""
    return [*_silent(heard), *_store(heard), *_operator(heard), *_versions(heard, own_version), *_clocks(heard), *_not_ready(heard)]


def _silent(heard: Heard) -> Iterator[Finding]:
    for address in heard.missing:
        said = f"the replica at {address} is linked and doesn't answer: calls go to the others; look at its log, its pod and its node"
        yield Finding(CONTROL_PLANE, Code.REPLICA_SILENT, said)


def _store(heard: Heard) -> Iterator[Finding]:
    problems = {each.store_message for each in heard.replicas if not each.store_ready}
    for problem in sorted(problems):
        without = sum(not each.store_ready and each.store_message == problem for each in heard.replicas)
        where = "" if without == len(heard.replicas) else f" from {without} of {len(heard.replicas)} replicas"
        said = f"the store can't be used{where} ({problem}): {WITHOUT_STORE}: {LOOK_AT_REDIS}"
        yield Finding(STORE, Code.STORE_UNAVAILABLE, said)

    slow = [each for each in heard.replicas if each.store_ready and each.store_seconds > SLOW_SECONDS]
    if slow:
        where = "" if len(slow) == len(heard.replicas) else f" to {len(slow)} of {len(heard.replicas)} replicas"
        worst = max(each.store_seconds for each in slow)
        said = f"it answers slowly{where}: one answer in a hundred takes {worst * 1000:.0f} ms, and each call with a session waits for some"
        advice = "give Redis more (redis.resources), put it into the control plane's zone, or bound states (session.maxBytes)"
        yield Finding(STORE, Code.STORE_SLOW, f"{said}: {advice}")

    for note in sorted({each.store_message for each in heard.replicas if each.store_ready and each.store_message}):
        said = f"sessions can be read and written; {note}"
        yield Finding(STORE, Code.STORE_FORGETS, f"{said}: give the store a volume, or replicas (docs/operations.md)", severity="note")


def without_lanes(links: int, lanes: int) -> list[Finding]:
    """Of a caller who has tried to have some."""
    if lanes >= links:
        return []
    said = (
        f"{links - lanes} of {links} replicas can't be reached at the port of lanes (7802), so calls take gRPC: slower, and no large ones"
    )
    advice = "let callers dial it, or set SNAKEPIT_LANES=off, which spares each link half a second"
    return [Finding(CONTROL_PLANE, Code.LANES_CLOSED, f"{said}: {advice}", severity="note")]


def _operator(heard: Heard) -> Iterator[Finding]:
    away = [each.operator_away_seconds for each in heard.replicas]
    if not away or max(away) <= AWAY_SECONDS:
        return
    if min(away) > AWAY_SECONDS:
        said = f"no operator has been linked to the control plane for {min(away):.0f} s: no capsule is made, replaced or scaled"
        yield Finding(OPERATOR, Code.OPERATOR_AWAY, f"{said}, and calls go on: look at its Deployment, or ask with --kube")
        return
    said = f"{sum(each > AWAY_SECONDS for each in away)} of {len(away)} replicas have no operator, and go by old settings of pools"
    yield Finding(OPERATOR, Code.OPERATOR_UNHEARD, f"{said}: look at the operator's log, and whether it may dial every replica (port 7800)")


def _versions(heard: Heard, own_version: str) -> Iterator[Finding]:
    theirs = sorted({each.version for each in heard.replicas})
    if len(theirs) > 1:
        said = f"replicas are of versions {', '.join(theirs)}: an upgrade is under way, or has come to a halt"
        yield Finding(CONTROL_PLANE, Code.VERSIONS_MIXED, f"{said}: `kubectl rollout status` of its Deployment says which", severity="note")
    for version in theirs:
        if not are_neighbours(own_version, version):
            older = "this program" if _release(own_version) < _release(version) else "the control plane"
            said = f"this program is {own_version} and the control plane {version}: only neighbouring releases work together"
            yield Finding(CONTROL_PLANE, Code.VERSION_SKEW, f"{said}: upgrade {older}")


def are_neighbours(one: str, other: str) -> bool:
    """Do releases with these versions promise to work together? What is no version says nothing against it."""
    (major, minor), (others, others_minor) = _release(one), _release(other)
    return (major, minor) == (0, 0) or (others, others_minor) == (0, 0) or (major == others and abs(minor - others_minor) <= 1)


def _release(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _clocks(heard: Heard) -> Iterator[Finding]:
    for each in heard.replicas:
        theirs = each.time.timestamp()
        # Somewhere between the question and the answer it looked at its clock.
        ahead = max(theirs - heard.answered, 0.0) or min(theirs - heard.asked, 0.0)
        if abs(ahead) > CLOCK_SECONDS:
            yield clock(f"replica {each.id}", ahead)


def _not_ready(heard: Heard) -> Iterator[Finding]:
    for each in heard.replicas:
        if each.not_ready:
            yield Finding(f"replica {each.id}", Code.REPLICA_NOT_READY, f"it takes no new calls for now: {each.not_ready}", severity="note")
