"""What Argo CD and Flux make of a pool's status: by health.lua, by kstatus, and by the expressions of docs/gitops.md."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
import yaml
from cel import evaluate
from lupa.lua51 import LuaRuntime

from snakepit.spec import SnakePool, SnakePoolStatus
from snakepit_operator.model import Observed, Phase, Plan
from snakepit_operator.status import status
from support.kstatus import kstatus
from support.operator_world import START, capsule, fleet, pod, pool
from support.pages import ROOT, blocks

LUA = (ROOT / "docs/argo-cd/health.lua").read_text()
Object = dict[str, Any]


def _expressions() -> dict[str, str]:
    (found,) = [block for block in blocks("docs/gitops.md") if "healthCheckExprs" in block.text]
    (checks,) = yaml.safe_load(found.text)["spec"]["healthCheckExprs"]
    return {name: checks[name] for name in ("inProgress", "failed", "current")}


def argo_cd(raw: Object) -> str:
    """Argo CD runs the script with `obj`, in a Lua of 5.1."""
    lua = LuaRuntime()
    lua.globals().obj = lua.table_from(raw, recursive=True)
    return str(lua.execute(LUA)["status"])


def flux(raw: Object) -> str:
    """As its StatusEvaluator: the generation first, then the expressions in this order."""
    if raw["status"].get("observedGeneration", raw["metadata"]["generation"]) != raw["metadata"]["generation"]:
        return "InProgress"
    words = {"inProgress": "InProgress", "failed": "Failed", "current": "Current"}
    return next((words[name] for name, each in _expressions().items() if evaluate(each, raw) is True), "InProgress")


def raw(of: SnakePool, found: SnakePoolStatus | None, generation: int | None = None) -> Object:
    said = {} if found is None else {name: each for name, each in msgspec.to_builtins(found).items() if each is not None}
    said = {**said, "conditions": [dict(each) for each in said["conditions"]]} if said else said
    spec = {name: each for name, each in msgspec.to_builtins(of.spec).items() if each is not None}
    return {"metadata": {"generation": generation or of.metadata.generation}, "spec": spec, "status": said}


class Row(NamedTuple):
    """A pool, and what each says of it: Argo CD, kstatus, Flux by the expressions."""

    pool: Object
    argo_cd: str
    kstatus: str
    flux: str


def _serves(**spec: Any) -> tuple[SnakePool, SnakePoolStatus]:
    of, first = pool(replicas=1, **spec), pod(0)
    return of, status(of, Observed((first,), fleet(capsule(first), ready_workers=1)), Plan(), START + 60)


def _other(*pods: Any, seen: Any = None, problem: tuple[str, str] | None = None, **spec: Any) -> Object:
    of = pool(**{"replicas": 1, **spec})
    return raw(of, status(of, Observed(pods, seen), Plan(), START + 60, problem))


OLD = pod(0, template_hash="another")
ROWS = {
    "serves": Row(raw(*_serves()), "Healthy", "Current", "Current"),
    "was edited": Row(raw(*_serves(), generation=9), "Progressing", "InProgress", "InProgress"),
    "starts": Row(_other(pod(0, ready=False, phase=Phase.PENDING), seen=fleet()), "Progressing", "InProgress", "InProgress"),
    "has no image": Row(
        _other(pod(0, ready=False, reason="ImagePullBackOff", message="not found"), seen=fleet()), "Degraded", "InProgress", "Failed"
    ),
    "is stalled": Row(_other(seen=fleet(), problem=("InvalidSpec", "a field that no capsule can have")), "Degraded", "Failed", "Failed"),
    "is suspended": Row(_other(seen=fleet(), suspended=True), "Suspended", "Current", "Current"),
    "is paused": Row(_other(OLD, seen=fleet(capsule(OLD), ready_workers=1), rollout={"paused": True}), "Suspended", "Current", "Current"),
    "has no control plane": Row(_other(pod(0)), "Progressing", "InProgress", "InProgress"),
    "has missed its objectives": Row(raw(*_serves(slo={"availabilityPercent": 99})), "Healthy", "Current", "Current"),
}


@pytest.mark.parametrize("name", ROWS)
def test_each_tool_waits_and_gives_up_as_the_page_says(name: str) -> None:
    row = ROWS[name]
    assert (argo_cd(row.pool), kstatus(row.pool), flux(row.pool)) == (row.argo_cd, row.kstatus, row.flux)


def test_a_pool_that_the_operator_has_not_seen_is_on_its_way() -> None:
    new = raw(pool(), None)
    assert (argo_cd(new), flux(new)) == ("Progressing", "InProgress")
    assert argo_cd({key: each for key, each in new.items() if key != "status"}) == "Progressing"
