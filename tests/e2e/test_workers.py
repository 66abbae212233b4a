"""Workers whose authors' code misbehaves, on a real cluster: each costs itself, and is told about."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from snakepit.cli.failures import ExitStatus
from support.containers import process_of
from support.incluster import SERVICE, Load, call, probe_pool, workers
from support.kube import HERMETIC, apply, condition, eventually, get, is_ready, kubectl, pods_of, run, wait_available

pytestmark = pytest.mark.timeout(240)

POOL = "hazard"
BEATS = {"intervalSeconds": 0.5, "timeoutSeconds": 7, "missThreshold": 3}
needs_the_nodes = pytest.mark.skipif(not HERMETIC, reason="the nodes' processes can't be reached from here")


@pytest.fixture(scope="module")
def pool(namespace: str) -> Iterator[str]:
    spec = {"heartbeat": BEATS, "drain": {"timeoutSeconds": 5, "killAfterSeconds": 1}}
    document = probe_pool(POOL, adapter="hazard:Hazard", replicas=1, worker={"processes": 2}, **spec)
    document["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "192Mi"}}
    apply(document, namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield POOL
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--wait=false")


def ready(namespace: str, count: int = 2, without: str = "") -> list[dict[str, Any]]:
    """So many ready workers, of which `without`, an incarnation, is none."""

    def found() -> list[dict[str, Any]]:
        live = [each for each in workers(POOL, namespace=namespace) if each["state"] == "ready" and each["liveness"] == "live"]
        assert len(live) == count, live
        assert without not in {each["incarnation"] for each in live}
        return live

    return eventually(found, f"{count} workers are ready")


def told(tool: str, arguments: dict[str, Any], namespace: str, *, timeout: float = 60) -> CompletedProcess[str]:
    """A call as the command line ends it, whether well or not."""
    argv = ["snakepit", "call", f"{namespace}/{POOL}", tool, json.dumps(arguments), "--server", SERVICE, "--timeout", str(timeout)]
    return run("kubectl", "exec", "caller", "-n", namespace, "--", *argv, check=False)


def running(namespace: str) -> list[dict[str, Any]]:
    return eventually(lambda: [each for each in workers(POOL, namespace=namespace) if int(each["running"])], "the call runs", every=0.05)


def the_pod(namespace: str) -> dict[str, Any]:
    return eventually(lambda: next((each for each in pods_of(POOL, namespace=namespace) if is_ready(each)), None), "a ready pod")


def identity(pod: dict[str, Any]) -> tuple[str, int]:
    """The pod, and how often its agent has been started again."""
    return pod["metadata"]["uid"], pod["status"]["initContainerStatuses"][0]["restartCount"]


def test_a_tool_past_its_deadline_is_interrupted_and_its_worker_lives(namespace: str, pool: str) -> None:
    before = {each["incarnation"] for each in ready(namespace)}
    ended = told("sleep", {"seconds": 60}, namespace, timeout=1)
    assert ended.returncode == ExitStatus.TIMEOUT
    assert "deadline" in ended.stderr
    assert {each["incarnation"] for each in ready(namespace)} == before


def test_a_tool_that_does_not_stop_is_killed_with_its_stack_in_the_log_and_only_its_worker_goes(namespace: str, pool: str) -> None:
    before = {each["incarnation"] for each in ready(namespace)}
    ended = told("will_not_stop", {}, namespace, timeout=6)
    assert "did not stop: it was at code/hazard.py" in ended.stderr
    eventually(lambda: len(before & {each["incarnation"] for each in ready(namespace)}) == 1, "one worker has another incarnation")
    name = the_pod(namespace)["metadata"]["name"]

    def logged() -> bool:
        logs = kubectl("logs", name, "-n", namespace, "-c", "snakepit-agent", "--tail=200")
        return "wrote before it was killed" in logs and "in will_not_stop" in logs

    eventually(logged, "the agent's log has its stack")


def test_a_tool_that_holds_the_gil_for_longer_than_the_heartbeats_time_is_busy_and_not_dead(namespace: str, pool: str) -> None:
    before = {each["incarnation"] for each in ready(namespace)}
    pod = identity(the_pod(namespace))
    assert call("hold_the_gil", {"seconds": 9}, pool=pool, namespace=namespace) == "held"
    assert {each["incarnation"] for each in ready(namespace)} == before
    assert identity(the_pod(namespace)) == pod


@needs_the_nodes
def test_a_frozen_agent_is_suspect_and_then_lost_its_call_is_told_and_its_capsule_replaced(namespace: str, pool: str) -> None:
    pod = the_pod(namespace)
    agent = process_of(pod, "snakepit-agent")
    with ThreadPoolExecutor() as threads:
        ending = threads.submit(told, "sleep", {"seconds": 40}, namespace)
        running(namespace)
        os.kill(agent, signal.SIGSTOP)
        began = time.monotonic()
        try:
            eventually(lambda: liveness(namespace) == {"suspect"}, "it is suspect", every=0.05)
            ended = ending.result()
            print(f"told after {time.monotonic() - began:.1f} s: {ended.stderr.strip()}")
            eventually(lambda: others(pod, namespace), "its capsule is replaced while it is silent")
        finally:
            with contextlib.suppress(ProcessLookupError):  # the grace of its pod is over
                os.kill(agent, signal.SIGCONT)
    assert ended.returncode == ExitStatus.MAY_HAVE_RUN
    assert "lost" in ended.stderr
    ready(namespace)
    assert call("whoami", {}, pool=pool, namespace=namespace) > 0


def others(pod: dict[str, Any], namespace: str) -> list[dict[str, Any]]:
    """Ready pods that are not this one."""
    return [each for each in pods_of(POOL, namespace=namespace) if is_ready(each) and each["metadata"]["uid"] != pod["metadata"]["uid"]]


def liveness(namespace: str) -> set[str]:
    return {str(each["liveness"]) for each in workers(POOL, namespace=namespace)}


def test_a_worker_out_of_memory_is_told_at_once_with_the_agent_linked_and_the_pod_where_it_was(namespace: str, pool: str) -> None:
    """Where the kernel kills one process (cgroup v1) and where it kills the whole container (v2)."""
    before = identity(the_pod(namespace))
    ready(namespace)
    began = time.monotonic()
    ended = told("eat", {"mebibytes": 400}, namespace)
    print(f"told after {time.monotonic() - began:.1f} s: {ended.stderr.strip()}")
    assert ended.returncode == ExitStatus.MAY_HAVE_RUN
    assert "died during the call" in ended.stderr
    assert "memory" in ended.stderr
    ready(namespace)
    assert identity(the_pod(namespace)) == before, "the pod is the same, and its agent has not been started again"


@needs_the_nodes
def test_a_capsule_that_is_killed_at_once_leaves_no_process_of_its_authors(namespace: str, pool: str) -> None:
    pod = the_pod(namespace)
    ready(namespace)
    call("leave_a_child", {}, pool=pool, namespace=namespace)
    assert process_of(pod, "86399")
    kubectl("delete", "pod", pod["metadata"]["name"], "-n", namespace, "--grace-period=0", "--force")
    eventually(lambda: processes_of(pod) == [], "nothing of the pod runs any more")
    eventually(lambda: identity(the_pod(namespace))[0] != pod["metadata"]["uid"], "it is replaced")
    ready(namespace)


def processes_of(pod: dict[str, Any]) -> list[str]:
    """Command lines of what runs in the pod, its pause container apart."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if pod["metadata"]["uid"] in (folder / "cgroup").read_text().replace("_", "-") and words:
                found.append(words)
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(
    ("name", "adapter", "reason", "sentence"),
    [
        ("absent", "no_such_module:Adapter", "AdapterInvalid", "no_such_module"),
        ("unsigned", "hazard:BadSignature", "AdapterInvalid", "numbers"),
    ],
)
def test_an_adapter_that_cannot_be_imported_or_has_a_bad_signature_says_so_in_status_events_and_doctor(
    namespace: str, name: str, adapter: str, reason: str, sentence: str
) -> None:
    apply(probe_pool(name, adapter=adapter, replicas=1), namespace=namespace)

    def degraded() -> dict[str, Any] | None:
        found = condition(get("snakepool", name, namespace=namespace), "Degraded")
        return found if found["status"] == "True" else None

    found = eventually(degraded, "the pool says that it is Degraded")
    assert found["reason"] == reason
    assert sentence in found["message"]

    def is_told() -> bool:
        told = [each["message"] for each in get("events", namespace=namespace) if name in each["involvedObject"]["name"]]
        assert any(sentence in each for each in told), told
        return True

    eventually(is_told, "an event says so")
    doctor = run(
        "kubectl", "exec", "caller", "-n", namespace, "--", "snakepit", "doctor", f"{namespace}/{name}", "--server", SERVICE, check=False
    )
    assert doctor.returncode == 1
    assert reason in doctor.stdout
    assert sentence in doctor.stdout
    kubectl("delete", f"sp/{name}", "-n", namespace, "--wait=false")


@pytest.mark.usefixtures("beside")
def test_workers_are_recycled_by_calls_and_by_hand_without_a_lost_call_and_never_fewer_than_asked_for(namespace: str) -> None:
    apply(probe_pool("renewed", replicas=1, worker={"processes": 2}, recycle={"maxCalls": 150}), namespace=namespace)
    wait_available("renewed", namespace=namespace)
    pod = eventually(lambda: next(filter(is_ready, pods_of("renewed", namespace=namespace)), None), "a ready pod")
    seen = serving("renewed", namespace)
    with Load("renewed", "renewed", namespace=namespace, concurrency=4) as load:
        deadline = time.monotonic() + 60
        while len(seen) < 5:  # Not `eventually`: that one of them is missing is a failure at once.
            assert time.monotonic() < deadline, f"too few successors: {seen}"
            seen |= serving("renewed", namespace)
        one = workers("renewed", namespace=namespace)[0]["id"]
        kubectl("exec", "caller", "-n", namespace, "--", "snakepit", "recycle", str(one), "--server", SERVICE)
        load.wait_for_more(200)
        account = load.finish()
    assert account["failed"] == {}, account["failures"]
    for why in ("recycle.maxCalls", "somebody had asked"):
        eventually(lambda why=why: [each for each in reasons("renewed", namespace) if why in each], f"an event says why: {why}")
    assert identity(pods_of("renewed", namespace=namespace)[0]) == identity(pod)
    kubectl("delete", "sp/renewed", "-n", namespace, "--wait=false")


def serving(pool: str, namespace: str) -> set[str]:
    """The incarnations that serve: as many as were asked for at the least, whenever one looks."""
    found = {str(each["incarnation"]) for each in workers(pool, namespace=namespace) if each["state"] == "ready"}
    assert len(found) >= 2, found
    return found


def reasons(pool: str, namespace: str) -> list[str]:
    events = get("events", namespace=namespace)
    return [each["message"] for each in events if each["reason"] == "WorkersRecycled" and each["involvedObject"]["name"] == pool]
