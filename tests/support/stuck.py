"""Why pods don't get on: each kind as Kubernetes says it. Statuses and messages are those of its scheduler and kubelet (v1.35).

Where they come from: `pkg/scheduler/schedule_one.go`, `pkg/kubelet/kubelet_pods.go` (convertToAPIContainerStatuses), `status/generate.go`,
`images/image_manager.go`, `kuberuntime/kuberuntime_manager.go` (doBackOff), `volumemanager/volume_manager.go` and `events/event.go`.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from support.admin import Admin
from support.api_server import certificate

Object = dict[str, Any]

REPLICAS = 3
"""Of the pool that gets stuck."""
NEW = {"image": "example/digits:2"}

AGENT, WORKER = "snakepit-agent", "worker"


class Said(NamedTuple):
    """What is said of a pod: its status, and the message of a warning FailedMount, if there is one."""

    status: Object
    failed_mount: str = ""


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- the scheduler's


def unschedulable(why: str, at: float) -> Said:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why, "lastTransitionTime": stamp(at)}
    return Said({"phase": "Pending", "conditions": [condition]})


# ---- a kubelet's


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running(at: float) -> Object:
    return {"running": {"startedAt": stamp(at)}}


def terminated(at: float, code: int = 1) -> Object:
    end = {"exitCode": code, "reason": "Error", "startedAt": stamp(at - 2), "finishedAt": stamp(at)}
    return {"terminated": {**end, "containerID": "containerd://0"}}


def container(name: str, state: Object, *, ready: bool = False, restarts: int = 0, last: Object | None = None) -> Object:
    is_running = "running" in state
    known = {"image": "example/digits:2", "imageID": "sha256:0" if is_running else "", "restartCount": restarts}
    return {"name": name, "state": state, "lastState": last or {}, "ready": ready, "started": is_running, **known}


def on_node(at: float, agent: Object, worker: Object, failed_mount: str = "") -> Said:
    """A pod that is on a node since then; pods of ours have the agent among their init containers, as a sidecar."""
    unready = [each["name"] for each in (agent, worker) if not each["ready"]]
    is_ready, initialized = not unready, agent["started"]
    why = {} if is_ready else {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"}
    ready = {"status": "True" if is_ready else "False", "lastTransitionTime": stamp(at), **why}
    facts = {"PodReadyToStartContainers": not failed_mount, "Initialized": initialized, "PodScheduled": True}
    others = [{"type": kind, "status": str(so), "lastTransitionTime": stamp(at)} for kind, so in facts.items()]
    conditions = [*others, {"type": "Ready", **ready}, {"type": "ContainersReady", **ready}]
    phase = "Running" if (initialized and worker["state"].keys() != {"waiting"}) or worker["restartCount"] else "Pending"
    status = {"phase": phase, "conditions": conditions, "startTime": stamp(at)}
    return Said({**status, "initContainerStatuses": [agent], "containerStatuses": [worker]}, failed_mount)


def well(at: float) -> Said:
    return on_node(at, container(AGENT, running(at), ready=True), container(WORKER, running(at), ready=True))


def worker_waits(at: float, reason: str, message: str) -> Said:
    return on_node(at, container(AGENT, running(at)), container(WORKER, waiting(reason, message)))


def mount_fails(at: float, why: str) -> Said:
    initializing = waiting("PodInitializing")
    said = f'MountVolume.SetUp failed for volume "code" : {why}'
    return on_node(at, container(AGENT, initializing), container(WORKER, initializing), said)


def crashes(at: float, turn: int, which: str) -> Said:
    """One container crashes again and again: each turn is one that the kubelet reports of it, the other container is well."""
    looped = f"back-off 5m0s restarting failed container={which} pod=digits-0-abcde_default(0)"
    state = [terminated(at), waiting("CrashLoopBackOff", looped), running(at)][turn % 3]
    last = {} if turn < 2 else terminated(at)
    one = container(which, state, restarts=1 + turn // 3, last=last, ready=which == WORKER and "running" in state)
    if which == AGENT:
        return on_node(at, one, container(WORKER, running(at), ready=True))
    return on_node(at, container(AGENT, running(at)), one)


def not_warm(at: float) -> Said:
    """All runs, and the agent says that no worker is warm."""
    return on_node(at, container(AGENT, running(at)), container(WORKER, running(at), ready=True))


Cause = Callable[[Admin, Path], contextlib.AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Row:
    """`edit` begins the roll-out. One of: `cause`, why the API server refuses pods; `pod`, what is said of one of a given age, turn by
    turn; `worker`, what its agent says of a worker that starts again. `mend`: another edit, where nothing else helps.
    """

    kind: str
    reason: str
    edit: Object
    cause: Cause | None = None
    pod: Callable[[float, int], Said] | None = None
    worker: str = ""
    mend: Object | None = None


# ---- what the API server refuses


@contextlib.asynccontextmanager
async def quota(admin: Admin, folder: Path) -> AsyncIterator[None]:
    """As the quota controller has it, which isn't here."""
    hard, path = {"pods": str(REPLICAS)}, admin.path("resourcequotas", "few")
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}}
    await admin.ask("POST", admin.path("resourcequotas"), body)
    await admin.merge(f"{path}/status", {"status": {"hard": hard, "used": hard}})
    yield
    await admin.ask("DELETE", path)


@contextlib.asynccontextmanager
async def limits(admin: Admin, folder: Path) -> AsyncIterator[None]:
    spec = {"limits": [{"type": "Container", "min": {"memory": "1Gi"}}]}
    await admin.ask(
        "POST", admin.path("limitranges"), {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "large"}, "spec": spec}
    )
    yield
    await admin.ask("DELETE", admin.path("limitranges", "large"))


@contextlib.asynccontextmanager
async def security(admin: Admin, folder: Path) -> AsyncIterator[None]:
    async def enforce(level: str) -> None:
        labels = {"pod-security.kubernetes.io/enforce": level}
        await admin.merge(f"/api/v1/namespaces/{admin.namespace}", {"metadata": {"labels": labels}})

    await enforce("restricted")
    yield
    await enforce("privileged")


@contextlib.asynccontextmanager
async def asked(admin: Admin, url: str, trusted: bytes) -> AsyncIterator[None]:
    """The API server asks a webhook there about each new pod of the namespace."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    hook = {
        "name": "pods.policy.example",
        "clientConfig": {"url": url, **({"caBundle": base64.b64encode(trusted).decode()} if trusted else {})},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": admin.namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    await admin.ask("POST", path, {**kind, "metadata": {"name": admin.namespace}, "webhooks": [hook]})
    yield
    await admin.ask("DELETE", f"{path}/{admin.namespace}")


@contextlib.asynccontextmanager
async def denied(admin: Admin, folder: Path) -> AsyncIterator[None]:
    made, key = certificate(folder, "webhook", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)

    async def deny(request: web.Request) -> web.Response:
        review = await request.json()
        status = {"message": "images must come from registry.example", "code": 403}
        answer = {"uid": review["request"]["uid"], "allowed": False, "status": status}
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})

    application = web.Application()
    application.router.add_post("/", deny)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        async with asked(admin, f"https://127.0.0.1:{runner.addresses[0][1]}/", made.read_bytes()):
            yield
    finally:
        await runner.cleanup()


def unanswered(admin: Admin, folder: Path) -> contextlib.AbstractAsyncContextManager[None]:
    return asked(admin, "https://127.0.0.1:1/", b"")


# ---- the table

PULL = (
    'failed to pull and unpack image "example/digits:2": failed to resolve reference "example/digits:2": example/digits:2: not found',
    'Back-off pulling image "example/digits:2": ErrImagePull: failed to pull and unpack image "example/digits:2": not found',
)
NAME = 'Failed to apply default image tag "Example/digits:2": couldn\'t parse image name: repository name must be lowercase'
FULL = (
    "0/2 nodes are available: 2 Insufficient memory. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
)
CLAIM = (
    '0/2 nodes are available: persistentvolumeclaim "models" not found. preemption: 0/2 nodes are available: 2 Preemption is not helpful.'
)


def template(**container: Any) -> Object:
    return {"template": {"spec": {"containers": [{"name": "worker", **container}]}}}


def pulls(at: float, turn: int) -> Said:
    return worker_waits(at, *(("ErrImagePull", PULL[0]), ("ImagePullBackOff", PULL[1]))[turn % 2])


ROWS = (
    Row("the image isn't there, or can't be pulled", "ImagePullBackOff", NEW, pod=pulls),
    Row(
        "the image's name is none",
        "InvalidImageName",
        {"image": "Example/digits:2"},
        pod=lambda at, _: worker_waits(at, "InvalidImageName", NAME),
        mend=NEW,
    ),
    Row("no node has room, or suits", "Unschedulable", NEW, pod=lambda at, _: unschedulable(FULL, at)),
    Row("a PersistentVolumeClaim is missing", "Unschedulable", NEW, pod=lambda at, _: unschedulable(CLAIM, at)),
    Row(
        "a Secret or ConfigMap of a volume is missing",
        "FailedMount",
        NEW,
        pod=lambda at, _: mount_fails(at, 'configmap "code" not found'),
    ),
    Row(
        "a Secret or ConfigMap of `env` is missing",
        "CreateContainerConfigError",
        NEW,
        pod=lambda at, _: worker_waits(at, "CreateContainerConfigError", 'secret "key" not found'),
    ),
    Row("the author's container ends again and again", "CrashLoopBackOff", NEW, pod=lambda at, turn: crashes(at, turn, WORKER)),
    Row("the agent ends again and again", "CrashLoopBackOff", NEW, pod=lambda at, turn: crashes(at, turn, AGENT)),
    Row("`setup()` raises", "SetupFailed", NEW, worker="ValueError: the model file is missing"),
    Row("`setup()` hangs", "SetupTimeout", NEW, worker="setup() did not return within 600 s"),
    Row("a quota is used up", "PodRefused", NEW, cause=quota),
    Row("a LimitRange forbids it", "PodRefused", template(resources={"requests": {"memory": "2Mi"}}), cause=limits),
    Row("PodSecurity forbids it", "PodRefused", template(securityContext={"runAsNonRoot": False, "runAsUser": 0}), cause=security),
    Row("a webhook forbids it", "PodRefused", NEW, cause=denied),
    Row("a webhook doesn't answer", "PodRefused", NEW, cause=unanswered),
    Row("a field of `template` is unknown", "PodRefused", template(imagePullPolice="Never"), mend=template()),
    Row("a value in `template` is wrong", "PodRefused", template(resources={"requests": {"cpu": "-1"}}), mend=template()),
)
