"""What a tool can't reach, tried from inside a tool: under PodSecurity `restricted`, beside a living agent and a control plane."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from snakepit.v1 import fleet_pb2, link_pb2
from support.incluster import call, call_token, probe_pool
from support.kube import SYSTEM, apply, get, kubectl, pods_of, wait_available
from support.scenes import replicas

pytestmark = pytest.mark.timeout(180)

POOL = "intruder"
LINK, SYNC = (f"snakepit.v1.{each}" for each in ("LinkService/Link", "FleetService/Sync"))
TOKEN = "/var/run/secrets/snakepit/token"


@pytest.fixture(scope="module")
def pool(namespace: str) -> str:
    """With an old protobuf of the author's own in its way, which breaks whoever needs a newer one."""
    document = probe_pool(POOL, adapter="intruder:Intruder", replicas=1)
    pod = document["spec"]["template"]["spec"]
    old = {"google.py": "", "protobuf.py": "__version__ = '3.20.0'\n", "grpc.py": "raise ImportError('an old grpcio, without this')\n"}
    apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pinned"}, "data": old}, namespace=namespace)
    items = [{"key": "google.py", "path": "google/__init__.py"}, {"key": "protobuf.py", "path": "google/protobuf/__init__.py"}]
    items.append({"key": "grpc.py", "path": "grpc/__init__.py"})
    pod["volumes"].append({"name": "pinned", "configMap": {"name": "pinned", "items": items}})
    pod["containers"][0]["volumeMounts"].append({"name": "pinned", "mountPath": "/pinned", "readOnly": True})
    pod["containers"][0]["env"] = [{"name": "PYTHONPATH", "value": "/pinned:/code"}]
    apply(document, namespace=namespace)
    wait_available(POOL, namespace=namespace)
    return POOL


def tried(tool: str, namespace: str, **arguments: Any) -> Any:
    return call(tool, arguments, pool=POOL, namespace=namespace)


def agents_token(namespace: str) -> str:
    """As nobody but the agent can read it, and we from outside."""
    name = pods_of(POOL, namespace=namespace)[0]["metadata"]["name"]
    return kubectl("exec", name, "-n", namespace, "-c", "snakepit-agent", "--", "cat", TOKEN).strip()


def posing(namespace: str, method: str, message: Any, token: str = "") -> str:
    """What the control plane answers to a tool that says that, in words."""
    address = sorted(replicas())[0]
    encoded = base64.b64encode(message.SerializeToString()).decode()
    authorization = f"Bearer {token}" if token else ""
    return unquote(tried("say", namespace, address=address, method=method, message=encoded, authorization=authorization))


def hello(pool: str, name: str, uid: str = "") -> link_pb2.LinkRequest:
    capsule = link_pb2.Capsule(name=name, incarnation="intruder", pool=pool, pod_uid=uid)
    return link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=link_pb2.Hello(protocol=1, role=link_pb2.ROLE_AGENT, capsule=capsule))])


def test_the_agent_has_a_token_for_its_pod_and_pool_and_a_tool_finds_none(namespace: str, pool: str) -> None:
    pod = pods_of(pool, namespace=namespace)[0]["metadata"]
    claims = jwt.decode(agents_token(namespace), options={"verify_signature": False})
    assert claims["aud"] == [f"snakepit.{SYSTEM}/{namespace}/{pool}"]
    assert claims["kubernetes.io"]["pod"] == {"name": pod["name"], "uid": pod["uid"]}
    assert tried("tokens", namespace) == []


def test_a_tool_sees_the_processes_of_its_own_container_alone_and_no_secret_in_their_environments(namespace: str, pool: str) -> None:
    environments = tried("environments", namespace)
    print(sorted(environments))
    assert any("snakepit-keeper" in words for words in environments)
    assert not any("snakepit-agent" in words for words in environments)
    names = {variable.partition("=")[0] for variables in environments.values() for variable in variables}
    ours = {name for name in names if name.startswith("SNAKEPIT")}
    assert ours <= {"SNAKEPIT_RUN_DIR", "SNAKEPIT_LOG_FORMAT", "SNAKEPIT_LOG_LEVEL"}, ours
    assert not any(word in name for name in names for word in ("TOKEN", "PASSWORD", "SECRET", "REDIS")), names
    reached = tried("reach", namespace)
    assert any("snakepit-keeper" in words for words in reached)
    assert all(found in ([], "FileNotFoundError", "PermissionError") for found in reached.values()), reached


def test_a_tool_opens_the_memory_of_no_other_process_though_it_has_their_uid(namespace: str, pool: str) -> None:
    found = tried("memories", namespace)
    assert found["opened"] == ["its own"]
    assert any("snakepit-keeper" in words for words in found["refused"])


def test_the_folder_that_it_shares_with_the_agent_has_one_socket_which_lets_no_second_keeper_in(namespace: str, pool: str) -> None:
    found = tried("run_folder", namespace)
    assert found == {"listed": {"control.sock": "0o660"}, "answer": ""}
    assert tried("privileges", namespace), "the agent goes on with the keeper that it has"


def test_a_tool_runs_without_privileges_on_a_root_that_it_cannot_write(namespace: str, pool: str) -> None:
    found = tried("privileges", namespace)
    assert found["Uid"].split() == ["1000"] * 4
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0
    assert (found["NoNewPrivs"], found["Seccomp"], found["setuid"]) == ("1", "2", "Operation not permitted")
    written = tried("write", namespace)
    assert "written" not in written.values(), written
    assert written["/x"] == written["/etc/x"] == "Read-only file system"


def test_a_tool_that_poses_as_a_capsule_or_as_the_operator_is_refused_whatever_it_says(namespace: str, pool: str) -> None:
    pod = pods_of(pool, namespace=namespace)[0]["metadata"]
    mine = f"{namespace}/{pool}"
    client = link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT))])
    known = posing(namespace, LINK, client, call_token("default", namespace))
    assert "token" not in known, "it could have spoken to the control plane"
    assert "the caller sent no token" in posing(namespace, LINK, client)
    assert "sent no token" in posing(namespace, LINK, hello(mine, pod["name"], pod["uid"]))
    assert "sent no token" in posing(namespace, SYNC, fleet_pb2.SyncRequest(complete=True))
    forged = jwt.encode({"aud": "x"}, rsa.generate_private_key(65537, 2048), "RS256", {"kid": "made up"})
    assert "is signed with key 'made up'" in posing(namespace, LINK, hello(mine, pod["name"], pod["uid"]), forged)
    assert get("snakepool", pool, namespace=namespace)["status"]["readyReplicas"] == 1


def test_not_even_with_the_agents_token_can_anybody_be_another_capsule_or_the_operator(namespace: str, pool: str) -> None:
    pod, token = pods_of(pool, namespace=namespace)[0]["metadata"], agents_token(namespace)
    assert "says it is of pool" in posing(namespace, LINK, hello(f"{namespace}/others", pod["name"], pod["uid"]), token)
    assert "has the token of pod" in posing(namespace, LINK, hello(f"{namespace}/{pool}", "intruder-9-other", pod["uid"]), token)
    assert "only the operator may sync pools" in posing(namespace, SYNC, fleet_pb2.SyncRequest(complete=True), token)


def test_the_port_for_lanes_hangs_up_on_a_ticket_that_was_made_up(namespace: str, pool: str) -> None:
    address = sorted(replicas())[0].replace(":7800", ":7802")
    assert tried("show_ticket", namespace, address=address, ticket="00" * 16) == ""


def test_a_token_of_another_service_account_or_for_another_audience_is_refused(namespace: str, pool: str) -> None:
    """Of the API server's own making, as somebody who has the right to it gets it."""
    usual = kubectl("create", "token", "default", "-n", namespace).strip()
    assert "not for this control plane" in posing(namespace, SYNC, fleet_pb2.SyncRequest(complete=True), usual)
    ours = call_token("default", namespace)
    assert "only the operator may sync pools" in posing(namespace, SYNC, fleet_pb2.SyncRequest(complete=True), ours)
    of_pool = kubectl("create", "token", "default", "-n", namespace, "--audience", f"snakepit.{SYSTEM}/{namespace}/{pool}").strip()
    assert "bound to no pod" in posing(namespace, LINK, hello(f"{namespace}/{pool}", "made-up"), of_pool)


def test_an_authors_image_with_a_protobuf_and_a_grpcio_that_we_could_not_use_works(namespace: str, pool: str) -> None:
    """Nothing of ours in that container imports them."""
    looked = "import google.protobuf; print(google.protobuf.__version__)"
    name = pods_of(pool, namespace=namespace)[0]["metadata"]["name"]
    seen = kubectl("exec", name, "-n", namespace, "-c", "worker", "--", "python3", "-c", looked)
    assert seen.strip() == "3.20.0"
    assert tried("privileges", namespace)["NoNewPrivs"] == "1"
