"""kubectl and helm as the e2e tests use them: a command in, JSON or text out, and waits that end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE_REPOSITORY = os.environ.get("IMAGE_REPOSITORY", "snakepit")
IMAGE_TAG = os.environ.get("IMAGE_TAG", "dev")
HERMETIC = os.environ.get("CLUSTER") != "existing"
"""On the cluster of hack/cluster, whose service addresses are reachable from here."""

SYSTEM = "snakepit-system"
RELEASE = "snakepit"

T = TypeVar("T")


class CommandFailed(AssertionError):
    """A command that should have worked did not; the text has its output."""


def run(*argv: str, stdin: str | None = None, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    if check and done.returncode:
        raise CommandFailed(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def kubectl(*argv: str, stdin: str | None = None, timeout: float = 120) -> str:
    return run("kubectl", *argv, stdin=stdin, timeout=timeout).stdout


def get(kind: str, name: str = "", *, namespace: str, selector: str = "") -> Any:
    """An object, or the items of a list."""
    argv = ["get", kind, *([name] if name else []), "-n", namespace, "-o", "json", *(["-l", selector] if selector else [])]
    found = json.loads(kubectl(*argv))
    return found if name else found["items"]


def apply(*documents: dict[str, Any], namespace: str) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    kubectl("apply", "-n", namespace, "-f", "-", stdin=text)


def eventually(look: Callable[[], T | None], what: str, timeout: float = 90, every: float = 0.25) -> T:
    """What `look` returns as soon as that is true; AssertionErrors inside it count as not yet. Fails with the last reason."""
    deadline = time.monotonic() + timeout
    reason = "it was never so"
    while time.monotonic() < deadline:
        try:
            found = look()
            if found:
                return found
        except AssertionError as error:
            reason = str(error)
        time.sleep(every)
    raise AssertionError(f"not within {timeout} s: {what}: {reason}")


def wait_available(pool: str, *, namespace: str, timeout: int = 180) -> None:
    """`kubectl wait`, as a user would; on failure the pool's own words are in the error."""
    done = run(
        "kubectl",
        "wait",
        "--for=condition=Available",
        f"sp/{pool}",
        "-n",
        namespace,
        f"--timeout={timeout}s",
        timeout=timeout + 30,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(done.stderr + run("kubectl", "describe", f"sp/{pool}", "-n", namespace, check=False).stdout)


def pods_of(pool: str, *, namespace: str) -> list[dict[str, Any]]:
    """The pool's pods that are not on their way out."""
    pods = get("pods", namespace=namespace, selector=f"snakepit.dev/pool={pool}")
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def condition(pool: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition of a SnakePool; an assertion if it isn't there."""
    found = [c for c in pool.get("status", {}).get("conditions", []) if c["type"] == kind]
    assert found, f"no condition {kind} in {pool.get('status')}"
    return dict(found[0])


def chart() -> Path:
    """Of the checkout, or the archive that is released."""
    if not (release := os.environ.get("RELEASE")):
        return ROOT / "charts/snakepit"
    (archive,) = (ROOT / release).glob("snakepit-*.tgz")
    return archive


def install(namespace: str = SYSTEM, *extra: str, wait: bool = True) -> None:
    """`helm install` without any values but IMAGE_REPOSITORY and IMAGE_TAG where they are set; `wait`: until all of it is ready.

    RELEASE names the folder of a release, whose chart it is then.
    """
    given = {"image.repository": os.environ.get("IMAGE_REPOSITORY"), "image.tag": os.environ.get("IMAGE_TAG")}
    images = [word for key, value in given.items() if value for word in ("--set", f"{key}={value}")]
    ready = ("--wait", "--timeout", "180s") if wait else ()
    run("helm", "upgrade", "--install", RELEASE, str(chart()), "-n", namespace, *ready, *images, *extra, timeout=240)


CALLERS = {"snakepit.dev/caller": "true", "snakepit.dev/scraper": "true"}
"""Labels of a namespace whose pods the network lets through to the control plane, and to its metrics."""


def make_namespace(name: str, **labels: str) -> None:
    """A namespace of callers, in which only pods of PodSecurity `restricted` may run."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", **(labels or CALLERS)}
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))


@contextlib.contextmanager
def port_forward() -> Iterator[str]:
    """An address at which the control plane answers from here."""
    argv = ["kubectl", "port-forward", "-n", SYSTEM, "service/snakepit", ":7800", "--address", "127.0.0.1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as forwarding:
        try:
            assert forwarding.stdout
            # Forwarding from 127.0.0.1:40123 -> 7800
            yield forwarding.stdout.readline().split()[2]
        finally:
            forwarding.terminate()
