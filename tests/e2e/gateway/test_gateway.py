"""The gateway on the cluster: who asks it is known, refused and served as in any other way, and its replacement costs no request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from support.clients import conformance
from support.cluster_gateway import POOL, SUBJECT, Ask, decisions
from support.conformance import BASELINE, passes
from support.fuzzed_http import holds
from support.incluster import ALL_REPLICAS, E2E, Load, call_token
from support.kube import HERMETIC, SYSTEM, eventually, get, kubectl

pytestmark = pytest.mark.timeout(240)

DIAL = "import json, sys; exec(sys.stdin.read()); print(json.dumps(dialled(sys.argv[1:])))"


def test_a_request_is_served_as_whose_token_it_has(gateway: str, ask: Ask, namespace: str) -> None:
    token = call_token("default", namespace)
    subject = f"system:serviceaccount:{namespace}:default"
    found = ask("POST", f"{gateway}/tools/caller", {}, token)
    assert (found["status"], json.loads(found["body"])) == (200, subject)
    assert json.loads(ask("GET", "/v1/whoami", None, token)["body"])["subject"] == subject


def test_who_has_no_token_is_asked_for_one_and_who_has_no_right_is_told_which_and_is_in_the_audit_log(gateway: str, ask: Ask) -> None:
    unknown = ask("POST", f"{gateway}/tools/caller", {})
    assert (unknown["status"], unknown["headers"]["www-authenticate"].split()[0]) == (401, "Bearer")
    refused = ask("POST", f"{gateway}/tools/caller", {}, call_token("default", SYSTEM))
    told = json.loads(refused["body"])
    assert (refused["status"], told["reason"], told["started"]) == (403, "PERMISSION_DENIED", "no")
    assert "create" in told["detail"], told
    assert "snakepools/call" in told["detail"], told
    subject = f"system:serviceaccount:{SYSTEM}:default"

    def written() -> bool:
        return any((each["subject"], each.get("through")) == (subject, SUBJECT) for each in decisions())

    eventually(written, "the denial is in a replica's audit log: of who asked, through the gateway", timeout=20)


def test_the_console_shows_the_pool(gateway: str, ask: Ask, namespace: str) -> None:
    found = ask("GET", f"/pools/{namespace}/{POOL}", None, call_token("default", namespace), Accept="text/html")
    assert found["status"] == 200
    assert found["headers"]["content-type"].startswith("text/html")
    assert POOL in found["body"]


def test_the_console_says_on_which_nodes_a_pool_is_and_what_a_call_has_logged_to_who_may_read_the_pods_log(
    gateway: str, ask: Ask, namespace: str
) -> None:
    names = ("looks", "looks-and-reads")
    for account in names:
        kubectl("create", "serviceaccount", account, "-n", namespace)
        of_it = f"--serviceaccount={namespace}:{account}"
        kubectl("create", "rolebinding", account, "-n", namespace, "--clusterrole=snakepit-maintainer", of_it)
    kubectl("create", "role", "reads", "-n", namespace, "--verb=get", "--resource=pods/log")
    kubectl("create", "rolebinding", "reads", "-n", namespace, "--role=reads", f"--serviceaccount={namespace}:looks-and-reads")
    looks, reads = [call_token(account, namespace) for account in names]
    nodes = {pod["spec"]["nodeName"] for pod in get("pods", namespace=namespace, selector=f"snakepit.dev/pool={POOL}")}
    assert nodes

    def named() -> bool:
        page = ask("GET", f"/pools/{namespace}/{POOL}", None, reads, Accept="text/html")["body"]
        return all(f">{node}</th>" in page.partition('id="nodes"')[2] for node in nodes)

    eventually(named, f"the console names {nodes}", timeout=40)
    failed = ask("POST", f"{gateway}/tools/weigh", {"value": 5}, call_token("default", namespace))
    where = f"/pools/{namespace}/{POOL}/call?id={failed['headers']['snakepit-call-id']}"
    raised = "raised TypeError: object of type &#39;int&#39; has no len()"

    def shown() -> bool:
        return raised in ask("GET", where, None, reads, Accept="text/html")["body"]

    eventually(shown, "what the tool raised is on its page", timeout=20)
    refused = ask("GET", where, None, looks, Accept="text/html")["body"]
    assert "You may not <code>get pods/log</code>" in refused
    assert raised not in refused


@pytest.mark.skipif(not HERMETIC, reason="whether the cluster's network enforces NetworkPolicies isn't known")
def test_it_reaches_the_control_plane_and_nothing_else(gateway: str) -> None:
    def of(component: str) -> tuple[str, str]:
        pods = get("pods", namespace=SYSTEM, selector=f"app.kubernetes.io/component={component}")
        pod = next(each for each in pods if "deletionTimestamp" not in each["metadata"])
        return pod["metadata"]["name"], pod["status"]["podIP"]

    (name, _), (_, control_plane), (_, redis), (_, operator) = map(of, ("gateway", "control-plane", "redis", "operator"))
    allowed = {f"{control_plane}:{port}" for port in (7800, 7802)}
    others = [f"{control_plane}:7801", f"{redis}:6379", f"{operator}:7803", "kubernetes.default.svc:443"]
    code = (E2E / "intruder.py").read_text()
    found = json.loads(kubectl("exec", "-i", name, "-n", SYSTEM, "--", "python3", "-c", DIAL, *allowed, *others, stdin=code))
    assert {address for address, what in found.items() if what == "connected"} == allowed, found


def test_gateways_and_control_planes_are_replaced_under_load_and_no_request_fails(gateway: str, namespace: str) -> None:
    with Load("web", POOL, namespace=namespace, server=ALL_REPLICAS, script="web.py") as calls:
        calls.wait_for_more()
        deployments = [f"deployment/snakepit-{each}" for each in ("gateway", "control-plane")]
        kubectl("rollout", "restart", "-n", SYSTEM, *deployments)
        for each in deployments:
            kubectl("rollout", "status", each, "-n", SYSTEM, "--timeout=120s")
        component = "app.kubernetes.io/component=gateway"
        eventually(lambda: len(get("pods", namespace=SYSTEM, selector=component)) == 2, "the old gateways have ended")
        calls.wait_for_more()
        assert calls.finish()["failed"] == {}


def test_a_tool_is_called_by_mcp_as_whose_token_the_request_has(gateway: str, ask: Ask, namespace: str) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    called = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "caller", "arguments": {}, "_meta": meta}}
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "caller"}
    headers["Accept"] = "application/json, text/event-stream"
    path = f"/mcp/{namespace}/{POOL}"
    assert ask("POST", path, called, **headers)["status"] == 401
    found = ask("POST", path, called, call_token("default", namespace), **headers)
    assert (found["status"], f"system:serviceaccount:{namespace}:default" in found["body"]) == (200, True), found


@pytest.mark.skipif(not HERMETIC, reason="whether the cluster's Services can be reached from here isn't known")
def test_schemathesis_finds_no_answer_that_is_not_in_the_document_or_the_table(
    plain: str, examples: None, namespace: str, tmp_path: Path
) -> None:
    """Of two gateways in turn, and two control planes: what one has written, the other reads."""
    asyncio.run(holds(f"{plain}/v1/pools/{namespace}/notes", tmp_path))


@pytest.mark.timeout(600)  # Of three versions, each may need another try.
@pytest.mark.skipif(not HERMETIC, reason="whether the cluster's Services can be reached from here isn't known")
def test_mcps_own_suite_passes_while_gateways_and_control_planes_are_replaced(
    plain: str, examples: None, namespace: str, tmp_path: Path
) -> None:
    """Which of its scenarios is for servers that serve their own machine alone is not for this one."""
    baseline = tmp_path / "baseline.yaml"
    baseline.write_text(f"{BASELINE.read_text()}  - dns-rebinding-protection\n")
    conformance()
    deployments = [f"deployment/snakepit-{each}" for each in ("gateway", "control-plane")]
    kubectl("rollout", "restart", "-n", SYSTEM, *deployments)
    try:
        asyncio.run(passes(f"{plain}/mcp/{namespace}/everything", baseline))
    finally:  # Other tests find none of the old ones.
        for each in deployments:
            kubectl("rollout", "status", each, "-n", SYSTEM, "--timeout=120s")
        for component in ("gateway", "control-plane"):
            pods = f"app.kubernetes.io/component={component}"
            eventually(lambda pods=pods: len(get("pods", namespace=SYSTEM, selector=pods)) == 2, f"the old ones have ended: {component}")
