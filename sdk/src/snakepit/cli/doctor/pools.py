"""What is wrong with the pool that was named, or with the list of them, beyond what `client.findings` says of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from snakepit._names import nearest
from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.conditions import ADVICE, NOT_OF_CAPSULES
from snakepit.client.findings import Finding, of_pool
from snakepit.client.views import PoolInfo, WorkerInfo

CALL = "create snakepools/call"
_NEAR = 3
_RECENTLY_SECONDS = 600.0


def unknown(name: str, others: Sequence[str]) -> Finding:
    """There is no such pool; `others` are those that there are, and that the caller may see."""
    namespace, _, short = name.partition("/")
    same = [each for each in others if each.partition("/")[2] == short]
    near = same or nearest(name, others) or [each for each in others if each.startswith(f"{namespace}/")][:_NEAR]
    advice = f"did you mean {' or '.join(near[:_NEAR])}?" if near else "`snakepit pools` lists those that there are"
    wanted = "" if others else "; none is there that you may see: apply its SnakePool, or ask for the right to look at it"
    return Finding(name, Code.POOL_UNKNOWN, f"the control plane has no pool {name}: {advice}{wanted}")


def at_zero(pool: PoolInfo, spec: Mapping[str, Any]) -> list[Finding]:
    """For whoever asks about this very pool: it has no capsule, as somebody wished it. `spec` is its SnakePool's."""
    if spec.get("suspended"):
        said = "it is suspended, and calls are refused (POOL_NOT_READY): set spec.suspended to false"
        return [Finding(pool.name, Code.SUSPENDED, said)]
    if pool.live_capsules or pool.desired_capsules:
        return []
    if spec.get("autoscaling"):
        said = "it is at zero capsules, as its autoscaler allows: the first call waits until one has come"
        return [Finding(pool.name, Code.SCALED_TO_ZERO, f"{said}; autoscaling.minReplicas 1 keeps one there", severity="note")]
    return [Finding(pool.name, Code.SCALED_TO_ZERO, "spec.replicas is 0, and calls wait in its queue: set it to one at least")]


def may_not_call(pool: str, subject: str, rights: Iterable[str]) -> list[Finding]:
    """For whoever asks about this very pool: the caller may look at it, and no more. `subject` empty: nobody is asked."""
    if not subject or CALL in rights:
        return []
    namespace, _, name = pool.partition("/")
    ask = f"`kubectl auth can-i create snakepools.snakepit.dev/{name} --subresource=call -n {namespace} --as={subject}`"
    said = f"{subject} may look at the pool and not call its tools (no right {CALL})"
    return [Finding(pool, Code.NO_RIGHT, f"{said}: bind it to a role with that verb (docs/security.md); {ask} says whether it holds")]


def none_seen(subject: str) -> Finding:
    """The list of pools is empty."""
    who = f"{subject} may look at" if subject else "the control plane knows of"
    advice = "apply a SnakePool, or ask for rights on its namespace" if subject else "apply a SnakePool"
    return Finding("pools", Code.NO_POOLS, f"there is no pool that {who}: {advice}", severity="note")


def too_many(late: int, all_: int, seconds: float) -> Finding:
    """So many of all pools were not looked at."""
    said = f"{late} of {all_} pools could not be looked at within {seconds:g} s: name one, or ask again when there is less to do"
    return Finding("pools", Code.NOT_LOOKED_AT, said, severity="note")


def of_fleet(pool: PoolInfo, workers: Sequence[WorkerInfo]) -> list[Finding]:
    """What is wrong with it, by what the control plane says: each cause once, with what to do."""
    return [*map(_advised, _each_once(pool, of_pool(pool, workers))), *_of_several(killed_for_memory(workers))]


def _each_once(pool: PoolInfo, found: Sequence[Finding]) -> Iterator[Finding]:
    """What keeps all of a pool from serving is said of the pool alone, with the author's traceback."""
    own = next((each for each in found if each.about == pool.name and each.reason == pool.reason), None)
    same = [each for each in found if own is not None and each is not own and _is_same(each, pool)]
    if own is not None:
        traceback = next((each.traceback for each in same if each.traceback), "")
        yield msgspec.structs.replace(own, traceback=traceback)
    yield from _of_several([each for each in found if each is not own and each not in same])


def _is_same(worker: Finding, pool: PoolInfo) -> bool:
    """How long it has been starting is another figure for each worker."""
    return worker.reason == pool.reason and (worker.reason == Code.STARTING or worker.message.endswith(pool.message))


def _of_several(found: Iterable[Finding]) -> Iterator[Finding]:
    """What several have is said of the first."""
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for each in found:
        alike.setdefault((each.reason, each.message, each.traceback), []).append(each)
    for first, *others in alike.values():
        more = f" (and the same of {len(others)} more)" if others else ""
        yield msgspec.structs.replace(first, message=first.message + more)


def _advised(finding: Finding) -> Finding:
    if finding.reason in _SAYS_WHAT_TO_DO:
        return finding
    what = _ADVICE.get(finding.reason) or ADVICE.get(finding.reason) or _LOOK_AT_LOGS
    return msgspec.structs.replace(finding, message=f"{finding.message}; what to do: {what}")


def killed_for_memory(workers: Iterable[WorkerInfo]) -> list[Finding]:
    """Workers whose life before this one ended lately for want of memory."""
    killed = [each for each in workers if each.ended.startswith(Code.OUT_OF_MEMORY) and each.age_seconds < _RECENTLY_SECONDS]
    said = "its last life ended for want of memory"
    return [Finding(each.id, Code.OUT_OF_MEMORY, f"{said} ({each.ended}): {_MORE_MEMORY}, or let calls need less") for each in killed]


def merged(fleets: Iterable[Finding], clusters: Sequence[Finding]) -> list[Finding]:
    """The cluster knows why capsules are missing, where the control plane knows only that they are: it is said once.

    What one part that is away does to every pool is said of that part alone.
    """
    explained = {each.about for each in clusters if each.severity == "error" and each.reason not in _EXPLAIN_NOTHING}
    kept = [each for each in fleets if (each.about not in explained or _is_own(each)) and not _is_told(each, clusters)]
    causes = {each.reason for each in (*kept, *clusters) if each.reason in _OF_PARTS and "/" not in each.about}
    follow = {_OF_PARTS[each] for each in causes}
    return [*kept, *(each for each in clusters if each.reason not in follow or "/" not in each.about)]


def _is_told(worker: Finding, clusters: Iterable[Finding]) -> bool:
    """Does a condition of its pool say the same? A worker is called `pool-ordinal-hash/index`."""
    capsule, _, index = worker.about.rpartition("/")
    pool = capsule.rsplit("-", 2)[0]
    return index.isdecimal() and any(each.reason == worker.reason and each.about.partition("/")[2] == pool for each in clusters)


def _is_own(finding: Finding) -> bool:
    """Does it say more than that capsules or workers are missing? Refusals have reasons of errors, in capitals."""
    return finding.reason in _FLEETS_OWN or finding.reason.isupper()


_MORE_MEMORY = "raise the memory limit of the container `worker` in spec.template"
_LOOK_AT_LOGS = "`snakepit logs` of the pool has its last words"
_ADVICE: Mapping[str, str] = {
    Code.STARTING: "wait; if it stays so, `snakepit logs` of the pool says what it does",
    Code.OUT_OF_MEMORY: f"{_MORE_MEMORY}, or let setup() need less",
    "NoCapsule": "the conditions of its SnakePool say why, and so does `snakepit --kube doctor`",
}
"""Where it is other advice than for the same reason of a condition, or there is no such condition."""
_SAYS_WHAT_TO_DO = frozenset((Code.CAPSULES_MISSING, Code.CAPSULE_SILENT, Code.QUEUE_FULL, Code.SESSIONS_FULL, Code.SESSIONS_NEARLY_FULL))
"""Reasons of findings whose own sentence says it."""
_EXPLAIN_NOTHING = NOT_OF_CAPSULES | {Code.PODS_MISSING, Code.POOL_UNSEEN, Code.POOL_UNWATCHED, Code.ANOTHER_RELEASE}
_FLEETS_OWN = frozenset(
    {
        *(Code.QUEUE_FULL, Code.SESSIONS_FULL, Code.SESSIONS_NEARLY_FULL),
        *(Code.NO_RIGHT, Code.POOL_UNKNOWN, Code.SUSPENDED, Code.SCALED_TO_ZERO),
    }
)
_OF_PARTS: Mapping[str, str] = {Code.STORE_UNAVAILABLE: "StoreUnavailable", Code.CONTROL_PLANE_AWAY: "ControlPlaneUnknown"}
"""What is wrong with a part, and the reason that each pool's condition has for it."""
