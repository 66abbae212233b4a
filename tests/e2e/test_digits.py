"""The walk of a newcomer: apply the example, wait, classify from a Job, call with grpcurl and plain grpcio, and read `kubectl describe`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.incluster import SERVER_NAME, authority, call_token, client_pod, config_map, may_call
from support.kube import (
    IMAGE_REPOSITORY,
    IMAGE_TAG,
    ROOT,
    SYSTEM,
    apply,
    eventually,
    kubectl,
    pods_of,
    port_forward,
    run,
    wait_available,
)

pytestmark = pytest.mark.timeout(300)

EXAMPLE = ROOT / "examples/digits"
SERVICE = f"snakepit.{SYSTEM}:7800"


@pytest.fixture(scope="module")
def digits(namespace: str):
    """The example's own pool file; only on another registry is its image replaced."""
    text = (EXAMPLE / "pool.yaml").read_text().replace("snakepit/digits:dev", f"{IMAGE_REPOSITORY}/digits:{IMAGE_TAG}")
    kubectl("apply", "-n", "default", "-f", "-", stdin=text)
    kubectl("label", "namespace", "default", "snakepit.dev/caller=true", "--overwrite")
    wait_available("digits", namespace="default")
    yield "digits"
    kubectl("delete", "sp/digits", "-n", "default", "--timeout=60s")


def test_a_job_classifies_the_held_out_digits_through_the_service(digits: str, namespace: str) -> None:
    kubectl("delete", "-n", "default", "-f", str(EXAMPLE / "job.yaml"), "--ignore-not-found")
    apply(config_map("classify-digits", EXAMPLE / "classify_job.py"), namespace="default")
    text = (EXAMPLE / "job.yaml").read_text().replace("snakepit/cli:dev", f"{IMAGE_REPOSITORY}/cli:{IMAGE_TAG}")
    kubectl("apply", "-n", "default", "-f", "-", stdin=text)
    kubectl("wait", "--for=condition=Complete", "job/classify-digits", "-n", "default", "--timeout=120s", timeout=150)
    log = kubectl("logs", "job/classify-digits", "-n", "default")
    print(log)
    result = json.loads(log.strip().splitlines()[-1])
    assert result["digits"] == 898
    assert result["accuracy"] > 0.9
    kubectl("delete", "-n", "default", "-f", str(EXAMPLE / "job.yaml"))
    kubectl("delete", "configmap", "classify-digits", "-n", "default")


def test_the_same_call_works_with_a_plain_grpcio_client_of_ten_lines(digits: str, namespace: str) -> None:
    apply(config_map("plain", EXAMPLE / "plain_client.py"), namespace=namespace)
    pod = client_pod("plain", "plain_client.py", SERVICE)
    pod["spec"]["volumes"][0]["configMap"]["name"] = "plain"
    with may_call("default", f"{namespace}:default"):
        apply(pod, namespace=namespace)
        kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/plain", "-n", namespace, "--timeout=60s")
    assert "digit" in kubectl("logs", "plain", "-n", namespace)


def test_the_same_call_works_with_grpcurl(digits: str, tmp_path: Path) -> None:
    grpcurl = shutil.which("grpcurl")
    if not grpcurl:
        pytest.skip("grpcurl is not here")
    known = (grpcurl, "-cacert", str(authority(tmp_path)), "-authority", SERVER_NAME)
    request = json.dumps({"pool": "default/digits", "tool": "count", "json": {"to": 3}})
    token = f"authorization: Bearer {call_token('default', 'default')}"
    with port_forward() as address:
        answer = run(*known, "-H", token, "-d", request, address, "snakepit.v1.RouterService/ExecuteStream").stdout
        assert [piece["json"] for piece in decode_all(answer) if "json" in piece] == [0, 1, 2]
        assert "snakepit.v1.RouterService" in run(*known, address, "list").stdout


def decode_all(text: str) -> list[dict[str, object]]:
    decoder, found, at = json.JSONDecoder(), [], 0
    text = text.strip()
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        found.append(value)
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return found


def test_describe_tells_a_person_what_is_going_on(digits: str) -> None:
    text = eventually(lambda: described("Total Slots"), "the description counts slots")
    for word in ("Available", "Progressing", "Degraded", "SessionStoreReady", "Busy Slots", "Total Slots", "Queue Depth", "Events"):
        assert word in text, f"{word} is not in:\n{text}"


def described(word: str) -> str:
    text = kubectl("describe", "sp/digits", "-n", "default")
    return text if word in text else ""


def test_no_container_of_the_author_holds_a_token_or_grpcio(digits: str) -> None:
    pod = pods_of("digits", namespace="default")[0]
    worker = next(c for c in pod["spec"]["containers"] if c["name"] == "worker")
    assert not [m for m in worker["volumeMounts"] if "serviceaccount" in m["mountPath"]]
    looked = (
        "import importlib.util as u; print([m for m in ('grpc', 'google.protobuf', 'redis', 'kubernetes') if u.find_spec(m.split('.')[0])])"
    )
    name = pod["metadata"]["name"]
    assert kubectl("exec", name, "-n", "default", "-c", "worker", "--", "python3", "-c", looked).strip() == "[]"
