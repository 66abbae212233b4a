"""What the conditions of a SnakePool say is wrong with it, and what to do about each reason. Pure.

docs/observe.md has the same for readers, reason by reason and kind by kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.objects import Condition, Pool
from snakepit.cli.doctor.replicas import LOOK_AT_REDIS
from snakepit.client.findings import FEWER_SESSIONS, Finding

_POD = "POD"
"""In place of the pod that a message names."""

ADVICE: Mapping[str, str] = {
    "ImageMissing": "set spec.image, or give the container worker in spec.template an image",
    "InvalidSpec": "mend the field that it names",
    "ImagePullBackOff": "push the image, mend its name, or give imagePullSecrets in spec.template",
    "ErrImagePull": "push the image, mend its name, or give imagePullSecrets in spec.template",
    "InvalidImageName": "mend spec.image",
    "Unschedulable": "ask for less in spec.template, mend its selectors and tolerations, or add a node",
    "FailedMount": "make the Secret or ConfigMap, or mend its name in spec.template",
    "CreateContainerConfigError": "make the Secret or ConfigMap, or mend its name in spec.template",
    "CrashLoopBackOff": f"`kubectl logs {_POD} -c worker --previous` has its last words",
    "ImportFailed": "put the module where workers run, as a rule into the image, or mend the import",
    "AdapterInvalid": "mend spec.worker.adapter, or the class that it names",
    "SetupFailed": "mend the adapter",
    "SetupTimeout": "`snakepit logs` of the pool has the stacks; or raise agent.setupTimeoutSeconds of the chart",
    "SuccessorFailed": "mend the adapter: the worker that should be replaced serves on meanwhile",
    "LaneUnreachable": "let capsules dial port 7802 of the control plane",
    "CapsulesSilent": "look at the network, the nodes and the control plane",
    "ProgressDeadlineExceeded": "look at the pool's pods and Events: `kubectl describe` has them",
    "ControlPlaneUnknown": "look at the control plane's Deployment",
    "SettingsPending": "if it stays, look at that replica's log and the operator's",
    "SettingsRefused": "upgrade the control plane, if it is older than the operator",
    "StoreUnavailable": LOOK_AT_REDIS,
    "SessionsFull": FEWER_SESSIONS,
    "SessionsNearlyFull": FEWER_SESSIONS,
    "ScalingLimited": "raise autoscaling.maxReplicas, if the cluster has room",
    "Evicted": "give the pods more room, or the node",
    "BudgetSpent": "`snakepit calls` says which calls were bad, and whose fault it is (docs/slo.md)",
    "PodRefused": "the API server says why: mend spec.template, or what forbids it",
}
"""By a condition's reason."""

BY_WORDS: tuple[tuple[str, str], ...] = (
    ("exceeded quota", "raise the quota, or set rollout.maxSurge to 0"),
    ("violates PodSecurity", "mend securityContext in spec.template"),
    ("failed calling webhook", "mend the webhook: no pod of that namespace can be made"),
    ("admission webhook", "do as the webhook says"),
    ("unknown field", "mend the field of spec.template"),
    ("per Container is", "mend resources in spec.template, by the namespace's LimitRange"),
    ("per Pod is", "mend resources in spec.template, by the namespace's LimitRange"),
    ("is invalid", "mend the value in spec.template"),
    ("persistentvolumeclaim", "make the PersistentVolumeClaim"),
    ("OOMKilled", "raise the memory limit of that container in spec.template"),
)
"""By what a message has in it, which goes before the reason: Kubernetes has one word for much."""

_AGENT = "container snakepit-agent"
_AGENTS_IMAGE = "see to the chart's `agent.image`, and to its `agent.pullSecrets`, which each namespace with a pool needs"
_AGENTS_ADVICE: Mapping[str, str] = {
    "ImagePullBackOff": _AGENTS_IMAGE,
    "ErrImagePull": _AGENTS_IMAGE,
    "InvalidImageName": "mend the chart's `agent.image`",
    "CreateContainerConfigError": "make the Secret or ConfigMap in the pool's namespace",
    "CrashLoopBackOff": f"`kubectl logs {_POD} -c snakepit-agent --previous` has its last words",
    "Error": f"`kubectl logs {_POD} -c snakepit-agent --previous` has its last words",
}
"""By reason, where it is the agent's: its container is the chart's, and not spec.template's."""

_WISHED = frozenset({"Suspended", "ScaledToZero", "Starting"})
_BAD = {"Degraded": "True", "Available": "False", "SessionStoreReady": "False", "Synced": "False", "ObjectivesMet": "False"}
"""Conditions, and with what status they are bad."""
_ALARMS = frozenset({"SessionsNearlyFull", "SessionsFull", "ScalingLimited"})
"""Reasons of conditions that are as they should be, and worth a word."""
NOT_OF_CAPSULES = _ALARMS | {"BudgetSpent", "SettingsPending", "SettingsRefused", "StoreUnavailable", "ControlPlaneUnknown"}
"""Reasons that don't say why capsules are missing: those of other conditions than Degraded and Available."""
_NOTES = {"Outdated": "restart the pool when it suits (docs/operations.md)", "RolloutPaused": "set rollout.paused to false to go on"}


def of_pool(pool: Pool, lease: str, *, is_operator_there: bool) -> Iterator[Finding]:
    """`lease`: of the release's operator. What conditions say while no operator writes them is old, and isn't said."""
    if pool.status is None or not pool.status.conditions:
        if is_operator_there:
            said = "the operator has never said anything of it: look at the operator's log"
            yield Finding(pool.name, Code.POOL_UNSEEN, said)
        return
    if pool.status.release and pool.status.release != lease:
        said = f"the operator with the Lease {pool.status.release} looks after it, and that of this release, {lease}, leaves it alone"
        yield Finding(pool.name, Code.ANOTHER_RELEASE, f"{said}: let only one of the two watch this namespace (watchNamespaces)")
    elif is_operator_there:
        if pool.status.observed_generation < pool.metadata.generation:
            seen, now = pool.status.observed_generation, pool.metadata.generation
            said = f"it was edited (generation {now}), and the operator has carried out generation {seen}"
            yield Finding(pool.name, Code.POOL_UNSEEN, f"{said}: if it stays so, look at the operator's log")
        yield from _of_conditions(pool)


def _of_conditions(pool: Pool) -> Iterator[Finding]:
    said: set[str] = set()
    for each in pool.status.conditions if pool.status else ():
        is_bad = each.reason in _ALARMS or (_BAD.get(each.type) == each.status and each.reason not in _WISHED)
        if is_bad and each.reason not in said:
            said.add(each.reason)
            yield _finding(pool.name, each)
        elif each.type == "Progressing" and (note := _NOTES.get(each.reason)) is not None:
            yield Finding(pool.name, each.reason, f"{each.message}: {note}", severity="note")


def _finding(name: str, condition: Condition) -> Finding:
    sentence, _, traceback = condition.message.partition("\n")
    pod = re.match(r"pod ([\w.-]+)[: ]", sentence)
    what = advice(condition.reason, condition.message)
    if pod is not None:
        what = what.replace(_POD, f"{pod[1]} -n {name.partition('/')[0]}")
    # Others' words are before it, with colons and full stops of their own.
    return Finding(name, condition.reason, f"{sentence.rstrip('.')}; what to do: {what}", traceback)


def advice(reason: str, message: str) -> str:
    """What to do about it."""
    known = (what for words, what in BY_WORDS if words in message)
    agents = _AGENTS_ADVICE.get(reason) if _AGENT in message else None
    return next(known, None) or agents or ADVICE.get(reason) or "`kubectl describe` of the pool and its pods says more"
